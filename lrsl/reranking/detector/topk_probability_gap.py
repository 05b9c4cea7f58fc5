"""How far the first choice lies ahead of the k-th."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.checks import check_k, check_logits
from lrsl.reranking.detector import DetectorWithoutFit


@dataclass(frozen=True)
class TopKProbabilityGap(DetectorWithoutFit):
    """The largest of softmax(logits) less the k-th largest, between 0 and 1.

    Args:
        k: which of the largest probabilities, at least 2.
    """

    k: int = 3

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the gaps `(n,)` in float64.

        Raises:
            ValueError: k is out of range, or a logit is not finite.
        """
        check_logits(logits)
        check_k(self.k, 2, logits.shape[1])
        largest = logits.softmax(-1, dtype=torch.float64).topk(self.k, dim=-1).values
        return largest[:, 0] - largest[:, -1]
