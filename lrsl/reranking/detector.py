"""What tells hard samples from easy ones: anything that gives one number per row of logits, low where it is hard."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from lrsl import core


class Detector(Protocol):
    """One number per row of logits; the lower, the harder. A new one is a small class and a YAML file."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return `(n,)` for logits `(n, classes)`."""
        ...


class TopKVariance:
    """The paper's detector: the variance of the k largest logits (section 3.2)."""

    def __init__(self, k: int = 3) -> None:
        self.k = k

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the variances `(n,)`."""
        return core.topk_variance(logits, self.k)
