"""Frozen embeddings of sentence-transformers, and scikit-learn's logistic regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from experiments.peers.task import Answers, Task, best, timed
from lrsl.embedding.text_embedding import load_embedding
from lrsl.training.trainer import device

PENALTIES = (1.0, 10.0, 100.0)
"""Values of C, of which validation chooses; vectors have length 1."""


class FrozenClassifier:
    """An encoder that is not trained, and a logistic regression on its vectors.

    Attributes:
        encoder: gives the vectors.
        head: the regression.
    """

    def __init__(self, task: Task) -> None:
        self.encoder = loaded(task)
        rows, held_out = self.vectors(task.train.texts), self.vectors(task.val.texts)
        tried = [regression(c).fit(rows, task.train.labels) for c in PENALTIES]
        self.head = best([(float(np.mean(one.predict(held_out) == task.val.labels)), one) for one in tried])

    def refit(self, task: Task) -> None:
        """Train the regression anew on train and val, with the C that is chosen."""
        texts, labels = task.train_and_val
        self.head = regression(self.head.C).fit(self.vectors(texts), labels)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of length 1, `(n, width)`."""
        found: NDArray[np.float32] = self.encoder.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return found

    def predict(self, texts: Sequence[str]) -> Any:
        """Return the labels `(n,)`."""
        return self.head.predict(self.vectors(texts))


def loaded(task: Task) -> SentenceTransformer:
    """Return the encoder, which reads as many tokens of a text as the classifier of the run."""
    encoder: SentenceTransformer = load_embedding(task.encoder, max_length=task.recipe.max_length)
    return encoder.to(device(task.hardware))


def regression(c: float) -> LogisticRegression:
    """Return what is trained on vectors."""
    return LogisticRegression(C=c, max_iter=1000)


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, choose C on val, and answer test; once more after training on both with that C."""
    classifier, choosing = timed(lambda: FrozenClassifier(task))
    before, before_seconds = timed(lambda: classifier.predict(task.texts))
    _, refitting = timed(lambda: classifier.refit(task))
    after, after_seconds = timed(lambda: classifier.predict(task.texts))
    return {
        "sentence_transformers_lr": Answers(before.tolist(), choosing, before_seconds),
        "sentence_transformers_lr_refitted": Answers(after.tolist(), choosing + refitting, after_seconds),
    }
