"""Our plug-in, as it comes, on top of the peer that is a logistic regression on frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.peers.sentence_transformers_lr import FrozenClassifier
from experiments.peers.task import AbsentError, Answers, Task, timed
from lrsl import Reranker


def measure(task: Task) -> Mapping[str, Answers]:
    """Train the peer, fit the reranker on val, and answer test; views learn from train, the encoder from nothing."""
    if len(set(task.train.labels)) < len(task.names):
        raise AbsentError("train lacks a class, and the regression has no column for it")

    def train() -> tuple[FrozenClassifier, Reranker]:
        classifier = FrozenClassifier(task)
        reranker = Reranker(
            classifier.encoder, task.label_texts, k=min(3, len(task.names)), rule="fitted", names=task.names
        )
        rows = (task.train.texts, task.train.labels, None)
        reranker.fit(
            logits(classifier, task.val.texts),
            task.val.labels,
            task.val.texts,
            rows,
            columns="trusted",
            finetune=False,
        )
        return classifier, reranker

    (classifier, reranker), train_seconds = timed(train)
    found, predict_seconds = timed(lambda: reranker.predict(logits(classifier, task.texts), task.texts))
    return {"reranked_lr": Answers(found.tolist(), train_seconds, predict_seconds)}


def logits(classifier: FrozenClassifier, texts: Sequence[str]) -> NDArray[Any]:
    """Return log-probabilities `(n, classes)`."""
    found: NDArray[Any] = np.maximum(classifier.head.predict_log_proba(classifier.vectors(texts)), np.log(1e-12))
    return found
