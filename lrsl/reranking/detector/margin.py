"""How far the first choice lies ahead of the second."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.checks import check_logits
from lrsl.reranking.detector import DetectorWithoutFit


@dataclass(frozen=True)
class Margin(DetectorWithoutFit):
    """The largest logit less the second largest, in the units of the logits. 0 where the two are equal."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the margins `(n,)`, float64 for float64 logits and float32 otherwise.

        Raises:
            ValueError: there are fewer than 2 classes, or a logit is not finite.
        """
        check_logits(logits, least=2)
        first, second = logits.topk(2, dim=-1).values.to(core.at_least_float32(logits)).unbind(-1)
        return first - second
