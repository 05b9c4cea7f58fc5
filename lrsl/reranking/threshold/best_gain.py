"""As many hard samples as reranking makes better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrsl.reranking.distribution import CRITERIA, calibrated, log_ranked, log_softmax
from lrsl.reranking.threshold import EVERYTHING_HARD, NOTHING_HARD, ThresholdRule
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis

WITHOUT_GAIN = ("nothing", "mistakes")
STEPS = 100  # candidates: the hardest 1 % of the rows, 2 %, and so on


@dataclass(frozen=True)
class BestGain(ThresholdRule):
    """The fewest hard rows whose gain from reranking is within one standard error of the best.

    The gain of a threshold is what reranking the hard ones brings, as a mean over all held-out rows: in accuracy, a row
    that is mended counts 1 and one that is broken -1; in likelihood, log p(true label) by the fusion less that by the
    classifier, both with the temperature that these rows ask for. Accuracy hears of the few rows whose answer changes,
    likelihood of every row, so that it tells where reranking stops to help on far fewer rows.

    Candidates are the hardest 1 %, 2 %, … 100 % of the rows, and none at all, whose gain is 0. The best of so many is
    too good to be true, so the smallest candidate takes its place that is worse by no more than the standard error of
    the best one's gain (the one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984).
    Where the best gain is not a standard error above 0, nothing is gained.

    Args:
        criterion: `likelihood` or `accuracy`; unless given likelihood where the fusion gives probabilities, else
            accuracy.
        without_gain: what is hard where nothing is gained: `nothing`; or `mistakes`, what the classifier is about as
            unsure of as of its mistakes (`Sigma2Mis`), for those who want to know and leave it to the verdict whether
            hard rows are reranked.

    Raises:
        ValueError: one of them is unknown.
    """

    criterion: str | None = None
    without_gain: str = "nothing"

    needs_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.criterion not in (None, *CRITERIA):
            raise ValueError(f"criterion is {self.criterion!r}; it must be one of {', '.join(CRITERIA)}")
        if self.without_gain not in WITHOUT_GAIN:
            raise ValueError(f"without_gain is {self.without_gain!r}; it must be one of {', '.join(WITHOUT_GAIN)}")

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Refuse: without answers there is no gain.

        Raises:
            ValueError: always.
        """
        raise ValueError("BestGain weighs what reranking would answer; fit the rule with the views' scores")

    def fit_on_answers(self, hardness: Tensor, logits: Tensor, labels: Tensor, answers: Tensor) -> float:
        """Return the threshold by accuracy.

        Raises:
            ValueError: the criterion is likelihood, which answers do not tell.
        """
        if self.criterion == "likelihood":
            raise ValueError("BestGain('likelihood') weighs how likely reranking makes labels; answers do not tell")
        gains = _right(answers, labels) - _right(logits.argmax(dim=-1), labels)
        return self._threshold(hardness, logits, labels, gains)

    def fit_on_scores(
        self, hardness: Tensor, logits: Tensor, labels: Tensor, scores: Tensor, *, probabilities: bool
    ) -> float:
        """Return the threshold."""
        if (self.criterion or ("likelihood" if probabilities else "accuracy")) == "accuracy":
            return self.fit_on_answers(hardness, logits, labels, scores.argmax(dim=-1))
        before, after = (_log_likelihood(told, labels) for told in (log_softmax(logits), log_ranked(scores, logits)))
        return self._threshold(hardness, logits, labels, after - before)

    def _threshold(self, hardness: Tensor, logits: Tensor, labels: Tensor, gains: Tensor) -> float:
        fewest = _fewest(hardness, gains)
        if fewest == NOTHING_HARD and self.without_gain == "mistakes":
            return Sigma2Mis().fit(hardness, logits, labels)
        return fewest


def _right(answers: Tensor, labels: Tensor) -> Tensor:
    return (answers.to(labels.device) == labels).double()


def _log_likelihood(told: Tensor, labels: Tensor) -> Tensor:
    """Return the log-likelihood of each true label, `(n,)`, by log-probabilities once they are calibrated."""
    return calibrated(told, told, labels).gather(1, labels[:, None])[:, 0]


def _fewest(hardness: Tensor, gains: Tensor) -> float:
    """Return the threshold for what reranking each row brings, `(n,)`."""
    n = len(hardness)
    if n < 2:
        return NOTHING_HARD
    ordered, order = hardness.double().sort()
    gains = gains.to(ordered.device)[order]
    total = torch.cat([gains.new_zeros(1), gains.cumsum(0)])  # by the hardest rows, up to each
    squares = torch.cat([gains.new_zeros(1), gains.square().cumsum(0)])
    sizes = sorted({_whole(ordered, math.floor(n * step / STEPS)) for step in range(STEPS + 1)})
    best = max(sizes, key=lambda size: (float(total[size]), -size))
    gain = float(total[best]) / n
    error = math.sqrt(max(float(squares[best]) / n - gain**2, 0.0) / (n - 1))
    fewest = next(size for size in sizes if float(total[size]) >= n * (gain - error) - 1e-9)
    if fewest == 0:
        return NOTHING_HARD
    return EVERYTHING_HARD if fewest == n else float(ordered[fewest])


def _whole(ordered: Tensor, size: int) -> int:
    """Return how many rows lie strictly below the one after the first `size`; all of them where there is none."""
    return size if size == len(ordered) else int((ordered < ordered[size]).sum())


def fitted_threshold(on_hard: str) -> ThresholdRule:
    """Return where the fitted rule's hard samples end unless told: where reranking stops to pay.

    Hard samples that are not reranked are those that the classifier errs on.

    Args:
        on_hard: what becomes of hard samples.
    """
    return BestGain(without_gain="mistakes") if on_hard == "rerank" else Sigma2Mis()
