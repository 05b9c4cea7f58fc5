"""A threshold that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from lrsl.reranking.threshold import ThresholdRule


@dataclass(frozen=True)
class Fixed(ThresholdRule):
    """A number that was found elsewhere, such as by hand; nothing is learnt.

    Args:
        value: rows whose hardness lies strictly below it are hard, in the detector's unit.

    Raises:
        ValueError: it is not finite, which results could not be written with.
    """

    value: float

    def __post_init__(self) -> None:
        """Check the value."""
        if not math.isfinite(self.value):
            raise ValueError(f"value is {self.value}; it must be a finite number in the detector's unit")

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the value."""
        return self.value
