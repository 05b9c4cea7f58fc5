"""The paper's detector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.detector import DetectorWithoutFit


@dataclass(frozen=True)
class TopKVariance(DetectorWithoutFit):
    """The variance of the k largest logits (section 3.2).

    Args:
        k: number of largest logits.
    """

    k: int = 3

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the variances `(n,)`."""
        return core.topk_variance(logits, self.k)
