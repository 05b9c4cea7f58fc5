"""TF-IDF of words and characters, and scikit-learn's linear support vector machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from experiments.peers.task import Answers, Task, best, timed

PENALTIES = (0.1, 1.0, 10.0)
"""Values of C, of which validation chooses."""


def measure(task: Task) -> Mapping[str, Answers]:
    """Train on train, choose C on val, and answer test; once more after training on both with that C."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    features = make_union(words, characters)

    def trained(c: float, texts: Sequence[str], labels: Sequence[int]) -> Pipeline:
        return make_pipeline(clone(features), LinearSVC(C=c, random_state=task.seed)).fit(texts, labels)

    def chosen() -> tuple[float, Pipeline]:
        tried = [(c, trained(c, task.train.texts, task.train.labels)) for c in PENALTIES]
        return best([(float(np.mean(one.predict(task.val.texts) == task.val.labels)), (c, one)) for c, one in tried])

    (c, classifier), choosing = timed(chosen)
    refitted, refitting = timed(lambda: trained(c, *task.train_and_val))
    answers = {}
    for system, pipeline, seconds in (
        ("linear_svm", classifier, choosing),
        ("linear_svm_refitted", refitted, choosing + refitting),
    ):
        found, predict_seconds = timed(partial(pipeline.predict, task.texts))
        answers[system] = Answers(found.tolist(), seconds, predict_seconds)
    return answers
