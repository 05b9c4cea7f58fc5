"""The paper's threshold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.threshold import NOTHING_HARD, ThresholdRule


@dataclass(frozen=True)
class Sigma2Mis(ThresholdRule):
    """The mean of the detector's number over the held-out rows that the classifier gets wrong (eq. 7)."""

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return σ²_mis; when nothing is misclassified 0.0, below which a detector without negative numbers has none.

        Of a detector with such numbers it is then what no row lies below.
        """
        found = core.mean_of_misclassified(hardness, logits, labels)
        right = logits.argmax(dim=-1) == labels.to(logits.device)
        return NOTHING_HARD if bool(right.all()) and bool((hardness < 0).any()) else found
