"""The formula that the paper's authors released for encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl import core
from lrsl.reranking.checks import check_logits
from lrsl.reranking.fusion import FusionWithoutFit
from lrsl.reranking.fusion.one_view import ranked_by_one_view


@dataclass(frozen=True)
class AuthorsEncoder(FusionWithoutFit):
    """The authors' released code for BERT: raw logits times one view's score squared. Nothing is learnt.

    Eq. 10 has softmax(logits) in place of the logits. A logit below 0 rises with a small score here, up to 0. Scores
    are clipped at 0 unless the power is 1, as `lrsl.core.rerank` does. Labels that the view has not scored come after
    those that it has.

    Args:
        power: exponent on the score; the authors have 2.

    Raises:
        ValueError: the power is not above 0.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        """Check the power."""
        if not self.power > 0:
            raise ValueError(f"power is {self.power}; it must be above 0")

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the products.

        Raises:
            ValueError: there is more than one view, or a logit is not finite.
        """
        check_logits(logits)
        return ranked_by_one_view("the authors' fusion", logits, scores, self._product)

    def _product(self, logits: Tensor, score: Tensor) -> Tensor:
        dtype = torch.promote_types(core.at_least_float32(logits), core.at_least_float32(score))
        weight = score.to(dtype)
        return logits.to(dtype) * (weight if self.power == 1 else weight.clamp(min=0) ** self.power)
