"""The paper's fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrsl import core
from lrsl.reranking.fusion import FittedFusion, Fusion
from lrsl.reranking.fusion.likelihood import filled, maximum_likelihood
from lrsl.reranking.fusion.one_view import ranked_by_one_view, the_one_view

AUTO = "auto"
NAME = "the paper's fusion"
FAINT = 1e-30  # of the best score; below it float32 has few digits, and soon none
FLOOR = 1e-3  # of a score whose logarithm is taken; eq. 10 has 0, which makes a label impossible


@dataclass(frozen=True)
class Paper(Fusion, FittedFusion):
    """One view's score to a given power times softmax(logits) (eq. 10). Nothing is learnt but a power of `auto`.

    Labels that the view has not scored come after those that it has, in the classifier's order. A row in which no score
    is above 0 keeps the classifier's ranking: of it eq. 10 would make the least likely label the best, or, with another
    power than 1, the first.

    Args:
        power: exponent on the score; or `auto`, which finds it on the hard held-out rows by maximum likelihood.
        letter: whether eq. 10 is taken at its letter, in those rows too.

    Raises:
        ValueError: the power is not above 0.
    """

    power: float | str = 1.0
    letter: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the power, and `letter` where it is set, which versions before 0.2 do not know."""
        return {"power": self.power, **({"letter": True} if self.letter else {})}

    def __post_init__(self) -> None:
        """Check the power."""
        if self.power == AUTO:
            return
        if isinstance(self.power, str):
            raise ValueError(f"power is {self.power!r}; it must be a number above 0, or 'auto'")
        if not self.power > 0:
            raise ValueError(f"power is {self.power}; it must be above 0")

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> FittedFusion:
        """Return the fusion itself; with `auto` the one that has found its power.

        The order that eq. 10 makes is that of z + power · log d, so the weights of z and log d that make the true
        labels of the hard rows likeliest give the power. It is 0, and the ranking the classifier's, where the view is
        not worth its price (`maximum_likelihood`).

        Raises:
            ValueError: the power is `auto`, and there is more than one view.
        """
        if self.power != AUTO:
            return self
        logarithm = filled(the_one_view(NAME, scores))[hard].clamp(min=FLOOR).log()
        temperature, (beta,) = maximum_likelihood(logits[hard], labels[hard], [logarithm])
        return PaperWithPower(beta * temperature, self.letter)

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedFusion:
        """Return the fusion itself; with `auto` the one that has found its power."""
        return PaperWithPower(float(learnt["power"]), self.letter) if self.power == AUTO else self

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the scores of eq. 10; softmax(logits) in rows where none is above 0, unless `letter` is set.

        Raises:
            ValueError: there is more than one view, or the power has yet to be found.
        """
        if isinstance(self.power, str):
            raise ValueError("power is 'auto' and has yet to be found; fit the fusion first")
        power = float(self.power)
        ranked = ranked_by_one_view(NAME, logits, scores, lambda logits, score: core.rerank(logits, score, power))
        if self.letter:
            return ranked
        largest = scores[0].nan_to_num(nan=-torch.inf).amax(-1, keepdim=True)
        faint = (largest > 0) & (ranked.amax(-1, keepdim=True) < FAINT)
        if power != 1 and faint.any():  # a power that rounds to 0 ranks nothing; a factor per row changes no ranking
            rows = faint[:, 0]
            shares = scores[0][rows] / largest[rows]
            ranked[rows] = ranked_by_one_view(NAME, logits[rows], [shares], lambda z, d: core.rerank(z, d, power))
        return ranked.where(largest > 0, logits.softmax(-1, dtype=ranked.dtype))


@dataclass(frozen=True)
class PaperWithPower(FittedFusion):
    """Eq. 10 with a power that was found.

    Attributes:
        power: exponent on the score, at least 0; with 0 the ranking is the classifier's.
        letter: as for `Paper`.
    """

    power: float
    letter: bool = False

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return the scores of eq. 10; softmax(logits) with a power of 0.

        Raises:
            ValueError: there is more than one view.
        """
        if self.power == 0:
            the_one_view(NAME, scores)
            return logits.softmax(-1, dtype=core.at_least_float32(logits))
        return Paper(self.power, self.letter)(logits, scores)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the power."""
        return {"power": torch.tensor(self.power, dtype=torch.float64)}
