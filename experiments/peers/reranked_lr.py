"""Our plug-in, as it comes, on top of the peer that is a logistic regression on frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from experiments.peers.sentence_transformers_lr import FrozenClassifier, regression
from experiments.peers.task import AbsentError, Answers, Task, timed
from lrsl import RerankedClassifier, Reranker


def measure(task: Task) -> Mapping[str, Answers]:
    """Train the peer, fit the reranker on val, and answer test; once more with both learning from train and val."""
    if len(set(task.train.labels)) < len(task.names):
        raise AbsentError("train lacks a class, and the regression has no column for it")
    (classifier, reranker), fitting = timed(lambda: held_out(task))
    found, seconds = timed(lambda: reranker.predict(logits(classifier, task.texts), task.texts))
    reranked, fitting_out_of_fold = timed(lambda: out_of_fold(task))
    found_out_of_fold, seconds_out_of_fold = timed(lambda: reranked.predict(task.texts))
    return {
        "reranked_lr": Answers(found.tolist(), fitting, seconds),
        "reranked_lr_out_of_fold": Answers(found_out_of_fold.tolist(), fitting_out_of_fold, seconds_out_of_fold),
    }


def held_out(task: Task) -> tuple[FrozenClassifier, Reranker]:
    """Return the peer, and a reranker fitted on val; views learn from train, the encoder from nothing.

    Labels are given by their texts, since a class may be called by the number of another.
    """
    classifier = FrozenClassifier(task)
    reranker = Reranker(classifier.encoder, task.label_texts, k=min(3, len(task.names)), rule="fitted")
    of_train, of_val = ([task.label_texts[label] for label in rows.labels] for rows in (task.train, task.val))
    rows = (task.train.texts, of_train, None)
    reranker.fit(
        logits(classifier, task.val.texts),
        of_val,
        task.val.texts,
        rows,
        columns="trusted",
        finetune=False,
    )
    return classifier, reranker


def out_of_fold(task: Task) -> RerankedClassifier:
    """Return both as one estimator, trained on train and val once val has chosen the penalty."""
    classifier = FrozenClassifier(task)
    vectors = FunctionTransformer(lambda texts: classifier.vectors(texts))  # noqa: PLW0108  (clones copy a method's self)
    estimator = make_pipeline(vectors, regression(classifier.head.C))
    return RerankedClassifier(estimator, classifier.encoder, label_texts=task.label_texts).fit(*task.train_and_val)


def logits(classifier: FrozenClassifier, texts: Sequence[str]) -> NDArray[Any]:
    """Return log-probabilities `(n, classes)`."""
    found: NDArray[Any] = np.maximum(classifier.head.predict_log_proba(classifier.vectors(texts)), np.log(1e-12))
    return found
