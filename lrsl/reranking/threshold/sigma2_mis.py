"""The paper's threshold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.threshold import ThresholdRule


@dataclass(frozen=True)
class Sigma2Mis(ThresholdRule):
    """The mean of the detector's number over the held-out rows that the classifier gets wrong (eq. 7)."""

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return σ²_mis; 0.0 when nothing is misclassified."""
        return core.mean_of_misclassified(hardness, logits, labels)
