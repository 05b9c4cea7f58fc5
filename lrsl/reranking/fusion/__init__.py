"""How the classifier's logits and the views' scores of hard samples become one ranking. A file per fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from torch import Tensor

from lrsl.reranking.component import Component, Fitted


class FittedFusion(Fitted, Protocol):
    """Joins logits and scores."""

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return what to rank by, `(n, classes)`.

        Args:
            logits: the classifier's, `(n, classes)`.
            scores: each view's, `(n, classes)`, NaN for labels that a view has not scored.
        """
        ...

    def asks(self, view: int) -> bool:
        """Tell whether the scores of the view of this number make a difference; unless overridden they do."""
        return True


class Fusion(Component, Protocol):
    """A fusion before it is fitted. What it gives sums to 1, and may be taken at its word, if `gives_probabilities`."""

    gives_probabilities: ClassVar[bool] = False

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> FittedFusion:
        """Learn from held-out rows.

        Args:
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
            scores: each view's, `(n, classes)`, NaN for labels that a view has not scored.
            hard: which rows are hard, `(n,)` bool.
        """
        ...

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedFusion:
        """Return what `fit` returned, from what it had learnt."""
        ...


class FusionWithoutFit(Fusion, FittedFusion, Protocol):
    """A fusion that learns nothing: a subclass defines `__call__` alone."""

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> FittedFusion:
        """Return the fusion itself."""
        return self

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedFusion:
        """Return the fusion itself."""
        return self
