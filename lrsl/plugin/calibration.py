"""Probabilities that mean what they say: a temperature for easy rows and one for hard ones, from held-out rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from lrsl import core
from lrsl.reranking.distribution import log_ranked, log_softmax
from lrsl.reranking.folds import folds as dealt
from lrsl.reranking.fusion.likelihood import LEAST_ROWS
from lrsl.reranking.rule import Reranked, Rule, recorded_scores

SPREAD = 0.5  # of log T before anything is seen: rows without a mistake would take T to 0
FURTHEST = math.log(1e4)  # how far from 0 log T is looked for


@dataclass(frozen=True)
class CrossFitted:
    """What becomes of held-out rows, each by a rule that was not fitted on it.

    Attributes:
        hard: which rows are hard, `(n,)` bool.
        labels: the answers after reranking, `(n,)`.
        log_probabilities: of the labels after reranking, `(n, classes)` float64, before any temperature.
    """

    hard: Tensor
    labels: Tensor
    log_probabilities: Tensor


def cross_fitted(
    rule: Rule,
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    *,
    alike: Tensor | None = None,
    folds: int = 10,
) -> CrossFitted | None:
    """Rerank held-out rows by rules that are fitted on the other folds; None below 2 rows.

    Args:
        rule: what is fitted.
        logits: the classifier's, `(n, classes)`.
        labels: true labels, `(n,)`.
        scores: each view's, `(n, classes)`, NaN for labels that a view has not scored.
        alike: of each row the first with the same text, `(n,)`, where no fold is to have copies of another's rows.
        folds: number of folds, at least 2; no more than rows are dealt.
    """
    if len(logits) < 2:
        return None
    hard, answers = torch.zeros(len(logits), dtype=torch.bool), torch.empty_like(labels)
    likely = log_softmax(logits)
    for seen, new in dealt(len(logits), folds, alike):
        copies = None if alike is None else alike[seen]
        fitted = rule.fit(logits[seen], labels[seen], [recorded_scores(score[seen]) for score in scores], alike=copies)
        made = fitted.rerank(logits[new], [recorded_scores(score[new]) for score in scores])
        hard[new], answers[new] = made.hard, made.labels
        likely[new[made.hard]] = log_ranked(made.scores[made.hard], logits[new][made.hard])
    return CrossFitted(hard, answers, likely)


@dataclass(frozen=True)
class Calibration:
    """Two temperatures (Guo et al., 2017).

    Attributes:
        easy: divides the log-probabilities of easy rows.
        hard: divides those of hard rows.
    """

    easy: float = 1.0
    hard: float = 1.0

    @classmethod
    def of(cls, found: CrossFitted | None, logits: Tensor, labels: Tensor, *, reranks: bool) -> Calibration:
        """Find the temperatures that make the true labels `(n,)` of held-out rows likeliest; 1 below ten rows.

        Before anything is seen, log T is taken to be normal around 0, since few rows of a good classifier have no
        mistake, and by these alone it would be as sure as can be.

        Args:
            found: what cross-fitting made of the rows.
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
            reranks: whether hard rows are reranked; else the classifier's probabilities are taken.
        """
        if found is None:
            return cls()
        likely = found.log_probabilities if reranks else log_softmax(logits)
        return cls(*(_temperature(likely[rows], labels[rows]) for rows in (~found.hard, found.hard)))

    def __call__(self, logits: Tensor, reranked: Reranked, *, reranks: bool) -> Tensor:
        """Return probabilities `(n, classes)` of what the rule has made of rows; the likeliest label stays the same."""
        likely, hard = log_softmax(logits), reranked.hard
        if reranks:
            likely[hard] = log_ranked(reranked.scores[hard], logits[hard])
        likely[hard] /= self.hard
        likely[~hard] /= self.easy
        return likely.softmax(dim=-1).to(core.at_least_float32(logits))

    def learnt(self) -> Mapping[str, Tensor]:
        """Return both as tensors, for `restored`."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in vars(self).items()}

    @classmethod
    def restored(cls, learnt: Mapping[str, Tensor]) -> Calibration:
        """Return what gave `learnt`."""
        return cls(float(learnt["easy"]), float(learnt["hard"]))


def _temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the likeliest temperature of log-probabilities `(n, classes)` with true labels `(n,)`."""
    if len(labels) < LEAST_ROWS:
        return 1.0

    def loss(log_t: float) -> float:
        likely = (log_probabilities / math.exp(log_t)).log_softmax(dim=-1)
        return float(-likely.gather(1, labels[:, None]).sum()) + (log_t / SPREAD) ** 2 / 2

    return math.exp(minimize_scalar(loss, bounds=(-FURTHEST, FURTHEST), method="bounded").x)
