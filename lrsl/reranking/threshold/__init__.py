"""Where hard samples end and easy ones begin. A file per threshold rule."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from lrsl.reranking.component import Component


class ThresholdRule(Component, Protocol):
    """Finds the number below which a row is hard. What it fits is that number."""

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the threshold: rows whose hardness lies strictly below it are hard.

        Args:
            hardness: the detector's number for each held-out row, `(n,)`.
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
        """
        ...
