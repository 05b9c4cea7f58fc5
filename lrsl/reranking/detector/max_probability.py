"""How likely the classifier holds its answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.checks import check_logits
from lrsl.reranking.detector import DetectorWithoutFit


@dataclass(frozen=True)
class MaxProbability(DetectorWithoutFit):
    """The largest of softmax(logits), between 1 / classes and 1 (Hendrycks and Gimpel, 2017)."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the probabilities `(n,)` in float64, in which those near 1 still differ.

        Raises:
            ValueError: a logit is not finite.
        """
        check_logits(logits)
        return logits.softmax(-1, dtype=torch.float64).amax(-1)
