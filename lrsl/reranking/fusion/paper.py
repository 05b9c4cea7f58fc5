"""The paper's fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl import core
from lrsl.reranking.fusion import FittedFusion, Fusion


@dataclass(frozen=True)
class Paper(Fusion, FittedFusion):
    """One view's score to a given power times softmax(logits) (eq. 10). Nothing is learnt.

    Labels that the view has not scored come after those that it has, in the classifier's order.

    Args:
        power: exponent on the score.

    Raises:
        ValueError: the power is not above 0.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        """Check the power."""
        if not self.power > 0:
            raise ValueError(f"power is {self.power}; it must be above 0")

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> Paper:
        """Return the fusion itself."""
        return self

    def restore(self, learnt: Mapping[str, Tensor]) -> Paper:
        """Return the fusion itself."""
        return self

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the scores of eq. 10.

        Raises:
            ValueError: there is more than one view.
        """
        if len(scores) != 1:
            raise ValueError(f"the paper's fusion joins the logits with one view, and there are {len(scores)}")
        scored = ~scores[0].isnan()
        if scored.all():
            return core.rerank(logits, scores[0], self.power)
        ranked = core.rerank(logits, scores[0].where(scored, 0), self.power)
        least = ranked.masked_fill(~scored, torch.inf).amin(-1, keepdim=True)
        others = least - 1 + logits.softmax(-1, dtype=ranked.dtype)
        return ranked.where(scored, others)
