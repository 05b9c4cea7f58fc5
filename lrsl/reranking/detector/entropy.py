"""How widely the classifier spreads its belief."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.checks import check_logits
from lrsl.reranking.detector import DetectorWithoutFit


@dataclass(frozen=True)
class Entropy(DetectorWithoutFit):
    """The entropy of softmax(logits) in nats, taken negative, so that low is hard: from -log(classes) to 0."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the negative entropies `(n,)` in float64.

        Raises:
            ValueError: a logit is not finite.
        """
        check_logits(logits)
        log_probabilities = logits.log_softmax(-1, dtype=torch.float64)
        return (log_probabilities.exp() * log_probabilities).sum(-1)
