"""What is asked of logits and scores before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrsl import core


def check_logits(logits: Tensor, least: int = 1, what: str = "logits") -> None:
    """Check that logits are `(n, classes)` with enough classes, and finite.

    Raises:
        ValueError: they are not.
    """
    if logits.ndim != 2 or logits.shape[1] < least:
        raise ValueError(
            f"{what} have shape {tuple(logits.shape)}; it must be (n, classes) with at least {least} classes"
        )
    core.check_finite(what, logits)


def check_k(k: int, least: int, most: int) -> None:
    """Check a number of largest logits.

    Raises:
        ValueError: it is out of range.
    """
    if not least <= k <= most:
        raise ValueError(f"k is {k}; it must be at least {least} and at most {most}, the number of classes")


def check_labels(labels: Tensor, n: int, classes: int) -> None:
    """Check that labels are `(n,)`, whole numbers, and each is a class.

    Raises:
        ValueError: they are not.
    """
    if labels.shape != (n,):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; with {n} rows of logits it must be ({n},)")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are of {labels.dtype}; they must be whole numbers, those of classes")
    core.check_labels(labels, classes)


def check_scores(scores: Sequence[Tensor], logits: Tensor) -> None:
    """Check that each view's scores have the shape of the logits and none is infinite; NaN stands for not scored.

    Raises:
        ValueError: they are not.
    """
    for number, score in enumerate(scores):
        if score.shape != logits.shape:
            raise ValueError(
                f"scores[{number}] have shape {tuple(score.shape)}; with these logits it must be {tuple(logits.shape)}"
            )
        if score.isinf().any():
            row, column = score.isinf().nonzero()[0].tolist()
            raise ValueError(
                f"scores[{number}][{row}, {column}] is {score[row, column].item()}; "
                "a score must be finite, or NaN for a label that is not scored"
            )
