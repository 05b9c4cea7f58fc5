"""The formula that the paper's authors released for language models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.fusion import FusionWithoutFit
from lrsl.reranking.fusion.one_view import ranked_by_one_view


@dataclass(frozen=True)
class AuthorsLLM(FusionWithoutFit):
    """The authors' released code for language models: softmax(logits) times one view's score squared.

    Nothing is learnt.

    On Banking-77 they cube the score and set the largest of each row to 1: `power=3, largest_to_one=True`. Scores are
    clipped at 0 unless the power is 1, as `lrsl.core.rerank` does. Labels that the view has not scored come after
    those that it has.

    Args:
        power: exponent on the score.
        largest_to_one: whether the largest score of each row counts as 1.

    Raises:
        ValueError: the power is not above 0.
    """

    power: float = 2.0
    largest_to_one: bool = False

    def __post_init__(self) -> None:
        """Check the power."""
        if not self.power > 0:
            raise ValueError(f"power is {self.power}; it must be above 0")

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the products.

        Raises:
            ValueError: there is more than one view, or a logit is not finite.
        """
        if self.largest_to_one:
            scores = [_largest_to_one(score) for score in scores]
        return ranked_by_one_view(
            "the authors' fusion", logits, scores, lambda logits, score: core.rerank(logits, score, float(self.power))
        )


def _largest_to_one(score: Tensor) -> Tensor:
    largest = score.nan_to_num(nan=-float("inf")).argmax(dim=-1, keepdim=True)
    return score.where(score.isnan(), score.scatter(1, largest, 1.0))
