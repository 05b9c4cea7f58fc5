"""As many hard samples as reranking makes better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD, ThresholdRule

STEPS = 100  # candidates: the hardest 1 % of the rows, 2 %, and so on


@dataclass(frozen=True)
class BestGain(ThresholdRule):
    """The fewest hard rows whose gain from reranking is within one standard error of the best.

    The gain of a threshold is the share of all held-out rows that reranking the hard ones mends, less the share that it
    breaks. Candidates are the hardest 1 %, 2 %, … 100 % of the rows, and none at all, whose gain is 0. The best of so
    many is too good to be true, so the smallest candidate takes its place that is worse by no more than the standard
    error of the best one's gain (the one-standard-error rule of Breiman et al., "Classification and Regression Trees",
    1984). Nothing is hard where the best gain is not a standard error above 0.
    """

    needs_answers: ClassVar[bool] = True

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Refuse: without answers there is no gain.

        Raises:
            ValueError: always.
        """
        raise ValueError("BestGain weighs what reranking would answer; fit the rule with the views' scores")

    def fit_on_answers(self, hardness: Tensor, logits: Tensor, labels: Tensor, answers: Tensor) -> float:
        """Return the threshold."""
        n = len(hardness)
        if n < 2:
            return NOTHING_HARD
        ordered, order = hardness.double().sort()
        change = (answers == labels).double() - (logits.argmax(dim=-1) == labels).double()
        mended = torch.cat([change.new_zeros(1), change[order].cumsum(0)])  # by the hardest rows, up to each
        squares = torch.cat([change.new_zeros(1), change[order].square().cumsum(0)])
        sizes = sorted({_whole(ordered, math.floor(n * step / STEPS)) for step in range(STEPS + 1)})
        best = max(sizes, key=lambda size: (float(mended[size]), -size))
        gain = float(mended[best]) / n
        error = math.sqrt(max(float(squares[best]) / n - gain**2, 0.0) / (n - 1))
        fewest = next(size for size in sizes if float(mended[size]) >= n * (gain - error) - 1e-9)
        if fewest == 0:
            return NOTHING_HARD
        return EVERYTHING_HARD if fewest == n else float(ordered[fewest])


def _whole(ordered: Tensor, size: int) -> int:
    """Return how many rows lie strictly below the one after the first `size`; all of them where there is none."""
    return size if size == len(ordered) else int((ordered < ordered[size]).sum())
