"""TF-IDF of words and characters, and scikit-learn's linear support vector machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

from experiments.peers.task import Answers, Task, best, timed

PENALTIES = (0.1, 1.0, 10.0)
"""Values of C, of which validation chooses."""


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, choose C on val, and answer test."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    features = make_union(words, characters)

    def train() -> LinearSVC:
        rows, held_out = features.fit_transform(task.train.texts), features.transform(task.val.texts)
        tried = [LinearSVC(C=c, random_state=task.seed).fit(rows, task.train.labels) for c in PENALTIES]
        return best([(float(np.mean(one.predict(held_out) == task.val.labels)), one) for one in tried])

    classifier, train_seconds = timed(train)
    found, predict_seconds = timed(lambda: classifier.predict(features.transform(task.texts)))
    return {"linear_svm": Answers(found.tolist(), train_seconds, predict_seconds)}
