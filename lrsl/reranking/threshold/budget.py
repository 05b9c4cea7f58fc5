"""As many hard samples as one can afford."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from lrsl.reranking.threshold import EVERYTHING_HARD, ThresholdRule


@dataclass(frozen=True)
class Budget(ThresholdRule):
    """The hardest share of the held-out rows is hard, and never more: of rows with equal numbers all or none are.

    Args:
        share: share of the rows that may be hard, above 0 and at most 1.

    Raises:
        ValueError: the share is out of range.
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it must be above 0 and at most 1")

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the largest number that at most the share of the rows lies strictly below."""
        affordable = math.floor(self.share * len(hardness) + 1e-9)  # 0.29 * 100 is a little less than 29
        if affordable == len(hardness):
            return EVERYTHING_HARD
        return float(hardness.double().sort().values[affordable])
