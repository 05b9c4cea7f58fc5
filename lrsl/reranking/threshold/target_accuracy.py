"""Few enough easy samples for the classifier to be right on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import beta
from torch import Tensor

from lrsl.reranking.checks import check_labels
from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD, ThresholdRule

STEPS = 20  # candidates: 5 % of the rows easy, 10 %, and so on


@dataclass(frozen=True)
class TargetAccuracy(ThresholdRule):
    """The fewest hard rows that leave the classifier at least so accurate on the easy ones.

    Candidates are the thresholds that leave 5 %, 10 %, … 100 % of the held-out rows easy. They are tested in that
    order, the hardest first, each by the lower bound of Clopper and Pearson (1934) for the accuracy on its easy rows.
    The first bound below the target ends it, and the candidate before is taken. Since the order is fixed before any
    label is looked at, the tests share one error probability without a correction (fixed-sequence testing, as in
    Angelopoulos et al., "Learn then Test", 2021). So, whatever the classifier and the detector, with a probability of
    at least `confidence` over the labels of the held-out texts the classifier's expected accuracy on the easy ones of
    them is at least `accuracy`.

    A bound on a handful of rows can only fail: the first candidate is the first with so many easy rows that the target
    would be met with half of the errors it allows. Where even that one fails, everything is hard.

    Args:
        accuracy: the least accuracy on easy rows, between 0 and 1.
        confidence: the probability with which it holds, between 0 and 1.

    Raises:
        ValueError: one of them is out of range.
    """

    accuracy: float = 0.95
    confidence: float = 0.9

    def __post_init__(self) -> None:
        """Check both."""
        for name in ("accuracy", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the threshold.

        Raises:
            ValueError: the labels are not `(n,)` or one is no class.
        """
        check_labels(labels, *logits.shape)
        ordered, order = hardness.double().sort(descending=True)
        right = (logits.argmax(dim=-1) == labels)[order].cumsum(0).tolist()  # among the easiest, up to each
        found = EVERYTHING_HARD
        started = False
        for step in range(1, STEPS + 1):
            most = math.ceil(len(ordered) * step / STEPS)
            if not most:
                break
            easy = int((ordered >= ordered[most - 1]).sum())  # with all that are as easy as the last of them
            allowed = math.floor(easy * (1 - self.accuracy) / 2)
            started = started or step == STEPS or self._bound(easy - allowed, easy) >= self.accuracy
            if not started:
                continue
            if self._bound(right[easy - 1], easy) < self.accuracy:
                break
            found = NOTHING_HARD if easy == len(ordered) else float(ordered[easy - 1])
        return found

    def _bound(self, right: int, n: int) -> float:
        """Return the lower bound of Clopper and Pearson for an accuracy of which `right` of n rows are evidence."""
        return float(beta.ppf(1 - self.confidence, right, n - right + 1)) if right else 0.0
