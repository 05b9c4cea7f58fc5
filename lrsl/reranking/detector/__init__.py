"""What tells hard samples from easy ones: one number per row of logits, low where it is hard. A file per detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from lrsl.reranking.component import Component, Fitted


class FittedDetector(Fitted, Protocol):
    """One number per row of logits; the lower, the harder."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return `(n,)` for logits `(n, classes)`."""
        ...


class Detector(Component, Protocol):
    """A detector before it is fitted. Most learn nothing: then the detector is its own fitted form."""

    def fit(self, logits: Tensor, labels: Tensor) -> FittedDetector:
        """Learn from held-out logits `(n, classes)` and labels `(n,)`."""
        ...

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedDetector:
        """Return what `fit` returned, from what it had learnt."""
        ...


class DetectorWithoutFit(Detector, FittedDetector, Protocol):
    """A detector that learns nothing: a subclass defines `__call__` alone."""

    def fit(self, logits: Tensor, labels: Tensor) -> FittedDetector:
        """Return the detector itself."""
        return self

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedDetector:
        """Return the detector itself."""
        return self
