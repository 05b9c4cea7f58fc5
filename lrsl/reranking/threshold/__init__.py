"""Where hard samples end and easy ones begin. A file per threshold rule."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from lrsl.reranking.component import Component

EVERYTHING_HARD: float = torch.finfo(torch.float32).max
"""A threshold that every row lies below; finite, since results are written as JSON."""
NOTHING_HARD: float = -EVERYTHING_HARD
"""A threshold that no row lies below."""


class ThresholdRule(Component, Protocol):
    """Finds the number below which a row is hard. What it fits is that number.

    A rule whose `needs_answers` is true weighs what reranking would answer, and is fitted by `fit_on_scores`; it cannot
    be fitted before there is a view.
    """

    needs_answers: ClassVar[bool] = False

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the threshold: rows whose hardness lies strictly below it are hard.

        Args:
            hardness: the detector's number for each held-out row, `(n,)`.
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
        """
        ...

    def fit_on_answers(self, hardness: Tensor, logits: Tensor, labels: Tensor, answers: Tensor) -> float:
        """Return the threshold, knowing what reranking would answer; unless overridden that is not looked at.

        Args:
            hardness: the detector's number for each held-out row, `(n,)`.
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
            answers: the label that reranking would give each row if it were hard, `(n,)`, by a fusion that was fitted
                on other rows.
        """
        return self.fit(hardness, logits, labels)

    def fit_on_scores(
        self, hardness: Tensor, logits: Tensor, labels: Tensor, scores: Tensor, *, probabilities: bool
    ) -> float:
        """Return the threshold, knowing by what reranking would rank; unless overridden by its answers alone.

        Args:
            hardness: the detector's number for each held-out row, `(n,)`.
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
            scores: what each row would be ranked by if it were hard, `(n, classes)`, by a fusion that was fitted on
                other rows.
            probabilities: whether these scores are probabilities.
        """
        return self.fit_on_answers(hardness, logits, labels, scores.argmax(dim=-1))
