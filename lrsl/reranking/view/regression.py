"""What views with a logistic regression share: labels without rows, and training rows scored without themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lrsl.reranking.folds import first_alike, together
from lrsl.reranking.gaps import without_gaps

FOLDS = 5


def check_two_labels(labels: Tensor, view: str) -> None:
    """Check that training rows have two labels or more.

    Raises:
        ValueError: all of the labels `(rows,)` are the same.
    """
    if len(labels.unique()) < 2:
        raise ValueError(f"all training rows have label {int(labels[0])}; the {view} view needs two or more")


def weights_of(regression: Any, classes: int) -> dict[str, Tensor]:
    """Return `weights` `(classes, d)` and `bias` `(classes,)` of scikit-learn's regression.

    The bias of a label without training rows is NaN.

    Args:
        regression: fitted on labels that are numbers.
        classes: number of labels.
    """
    known = torch.from_numpy(regression.classes_)
    weights, bias = torch.from_numpy(regression.coef_).float(), torch.from_numpy(regression.intercept_).float()
    if len(known) == 2:  # scikit-learn keeps the second label's only
        weights, bias = torch.cat([0 * weights, weights]), torch.cat([0 * bias, bias])
    return {
        "weights": weights.new_zeros(classes, weights.shape[1]).index_copy_(0, known, weights),
        "bias": bias.new_full((classes,), torch.nan).index_copy_(0, known, bias),
    }


def log_probabilities(products: Tensor, bias: Tensor) -> Tensor:
    """Return log-probabilities `(n, classes)` from products of features and weights, `(n, classes)`.

    A label without training rows, whose bias is NaN, gets the smallest of the row.
    """
    known = ~bias.isnan()
    scores = (products + bias).masked_fill(~known, -torch.inf).log_softmax(-1)
    return without_gaps(scores.where(known, torch.nan))


def out_of_fold(
    rows: Tensor,
    texts: Sequence[str],
    labels: Tensor,
    classes: int,
    trained: Callable[[Tensor], Callable[[Tensor], Tensor]],
) -> Tensor:
    """Return the scores `(n, classes)` of training rows by a regression on four fifths of the others.

    The folds have equal shares of each label, but for rows of the same text, which are in one.

    Args:
        rows: numbers of the rows that are asked for, `(n,)`.
        texts: those of all training rows.
        labels: theirs, `(training rows,)`.
        classes: number of labels.
        trained: trains on the training rows of these numbers, and returns what scores those of other numbers.

    Raises:
        ValueError: the other folds of a row have one label only.
    """
    folds = torch.empty_like(labels)
    folds[labels.argsort(stable=True)] = torch.arange(len(labels)) % FOLDS
    folds = together(folds, first_alike(texts), labels)
    scores = torch.zeros(len(rows), classes)
    for fold in folds[rows].unique().tolist():
        asked = (folds[rows] == fold).nonzero().flatten()
        scores[asked] = trained((folds != fold).nonzero().flatten())(rows[asked])
    return scores
