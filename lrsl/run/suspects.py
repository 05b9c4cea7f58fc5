"""Training labels that are likely wrong, by what was learnt from other rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lrsl.data.corpus import Corpus, Split


def suspect_labels(corpus: Corpus, split: Split, logits: Tensor, views: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return the samples whose given label is likely wrong, the clearest first, as plain data.

    Each has `id`, `text`, the label `given` and the `likelier` one, the classifier's probability of both, and in
    `views` the names of the views that find the likelier label likelier, too. Which samples they are, the classifier
    says alone; they are ordered by how far the two probabilities lie apart.

    Args:
        corpus: has the names of the labels.
        split: the samples.
        logits: the logits `(n, classes)` of classifiers that have not seen the samples.
        views: scores `(n, classes)` of views that have not seen them, by name; NaN for labels that are not scored.
    """
    probabilities = logits.double().softmax(-1).numpy()
    given = np.array(split.labels)
    likelier = confident_labels(probabilities, given)
    rows = np.flatnonzero((likelier >= 0) & (likelier != given))
    margin = probabilities[rows, likelier[rows]] - probabilities[rows, given[rows]]
    filled = {name: scores.nan_to_num(nan=-np.inf).numpy() for name, scores in views.items()}
    return [
        {
            "id": split.ids[row],
            "text": split.texts[row],
            "given": corpus.labels[given[row]],
            "likelier": corpus.labels[likelier[row]],
            "probability_given": float(probabilities[row, given[row]]),
            "probability_likelier": float(probabilities[row, likelier[row]]),
            "views": [name for name, scores in filled.items() if scores[row, likelier[row]] > scores[row, given[row]]],
        }
        for row in rows[np.argsort(-margin, kind="stable")].tolist()
    ]


def confident_labels(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the label of which the classifier is confident for each row, `(n,)`; -1 where it is of none.

    It is confident of a label where it holds it as likely as it does on average in the rows to which it is given; of
    the likeliest of them where that is so of several. This is the confident joint of confident learning (Northcutt,
    Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021), by which a classifier that
    is too sure or too timid with a label is measured by its own standard.

    Args:
        probabilities: out-of-sample probabilities, `(n, classes)`.
        given: the labels that are given, `(n,)`.
    """
    thresholds = np.full(probabilities.shape[1], np.inf)  # nobody can be confident of a label that no row has
    for label in np.unique(given):
        thresholds[label] = probabilities[given == label, label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    return np.where(confident.max(axis=1) >= 0, confident.argmax(axis=1), -1)
