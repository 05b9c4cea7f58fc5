"""Whether reranking pays: what a rule gains on held-out rows that it was not fitted on, and whether to deploy it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor

from lrsl.reranking.checks import check_labels, check_logits, check_scores
from lrsl.reranking.distribution import CRITERIA, calibrated, log_ranked, log_softmax
from lrsl.reranking.folds import folds as dealt
from lrsl.reranking.positional import check_no_probabilities
from lrsl.reranking.rule import FittedRule, Rule, recorded_scores
from lrsl.reranking.threshold import NOTHING_HARD

LEAST_HARD = 10  # hard rows, for a mean to have an error that can be told
LEVEL = 0.95  # of each bound, taken by itself
CLEARLY = 0.5  # standard errors from 0, from which on a gain in accuracy speaks for or against a gain in likelihood
WORTH = 0.03  # nats per hard row: what is less can be told from chance on thousands of rows, and may mend no answers


@dataclass(frozen=True)
class Verdict:
    """Whether to deploy a rule, and on what evidence.

    Each bound is one-sided, at 95 %; together the two bounds of a gain are a 90 % interval.

    Attributes:
        deploy: whether reranking pays.
        gain: the gain in accuracy over all rows, as a fraction.
        gain_low: its lower bound.
        gain_high: its upper bound.
        likelihood_gain: the mean gain in log-likelihood of the true label over the hard rows, in nats; NaN without one.
        likelihood_low: its lower bound; NaN below 2 texts of hard rows.
        likelihood_high: its upper bound; NaN below 2 texts of hard rows.
        n: number of held-out rows.
        n_hard: how many of them are hard.
        reason: one sentence that says why.
    """

    deploy: bool
    gain: float
    gain_low: float
    gain_high: float
    likelihood_gain: float
    likelihood_low: float
    likelihood_high: float
    n: int
    n_hard: int
    reason: str

    def plain(self) -> dict[str, Any]:
        """Return the attributes by name, as JSON has them: None for what is not a number."""
        values = dataclasses.asdict(self).items()
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values}


def verdict(
    rule: Rule,
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    *,
    alike: Tensor | None = None,
    criterion: str | None = None,
    folds: int = 10,
) -> Verdict:
    """Judge a rule by cross-fitting: detector, threshold and fusion are fitted on all folds but one, and judged on it.

    A row's gain in accuracy is 1 where reranking mends the answer, -1 where it breaks it and 0 otherwise. A hard row's
    gain in likelihood is log p(true label) by the fusion less that by the classifier. What the fusion gives is divided
    by its sum to be a distribution, in which a label that it makes impossible, as eq. 10 does where the score is below
    0, is a ten-thousandth as likely as the likeliest, or as likely as the least likely of the others. Both
    distributions have a temperature of their own, fitted on the hard rows of the same folds, so that what calibration
    alone would do is never booked as a gain of reranking. Accuracy counts the few rows whose answer changes, likelihood
    every hard row, so that it tells a gain from chance on far fewer rows.

    Bounds are Student's, over texts; that folds share the rows they learn from is left out of account. Rows of one text
    are in one fold, and no more evidence than one of them: errors are those of leaving out one text after the other.

    A rule is deployed where the lower bound of the gain in accuracy is above 0; with the criterion `likelihood` also
    where that of the gain in likelihood is and accuracy agrees: a gain of 0.03 nats per hard row or more takes one in
    accuracy that is not more than half a standard error below 0, a smaller one takes one that is as much above. With
    fewer than 10 hard rows, or texts, it never is.

    Args:
        rule: what is judged, not fitted.
        logits: the classifier's on held-out rows, `(n, classes)`.
        labels: their true labels, `(n,)`.
        scores: each view's, `(n, classes)`, NaN for labels that a view has not scored.
        alike: of each row the first with the same text, `(n,)`; without it each row is taken to have a text of its own.
        criterion: by what to decide, `likelihood` or `accuracy`; unless given `likelihood` for a fusion that gives
            probabilities, else `accuracy`.
        folds: number of folds, at least 2; no more than rows are dealt.

    Raises:
        ValueError: the criterion is unknown, there are fewer than 2 folds, the shapes do not fit, the labels are no
            whole numbers, the logits are probabilities, or a logit or a score is not finite.
    """
    criterion = criterion or ("likelihood" if rule.fusion.gives_probabilities else "accuracy")
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}; it must be one of {', '.join(CRITERIA)}")
    return verdicts(rule, logits, labels, scores, alike=alike, folds=folds)[criterion]


def verdicts(
    rule: Rule,
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    *,
    alike: Tensor | None = None,
    folds: int = 10,
) -> dict[str, Verdict]:
    """Return what each criterion decides, `likelihood` and `accuracy`, from one cross-fitting; see `verdict`."""
    if folds < 2:
        raise ValueError(f"folds is {folds}; it must be at least 2")
    check_logits(logits)
    check_no_probabilities(logits)
    check_labels(labels, *logits.shape)
    check_scores(scores, logits)
    if len(logits) < 2:
        none = (math.nan, math.nan, math.nan)
        nothing = "reranking off: " + (
            "one held-out row tells nothing" if len(logits) else "there are no held-out rows"
        )
        return dict.fromkeys(CRITERIA, Verdict(False, *none, *none, len(logits), 0, nothing))
    alike = torch.arange(len(logits)) if alike is None else alike
    if alike.shape != labels.shape:
        raise ValueError(f"alike has shape {tuple(alike.shape)}; with {len(labels)} rows it must be ({len(labels)},)")
    change = torch.zeros(len(logits), dtype=torch.float64)
    likelier: list[Tensor] = []
    hard: list[Tensor] = []
    nowhere = True
    held_out = Rows(logits, labels, scores)
    for learnt_on, rows in dealt(len(logits), folds, alike):
        seen = held_out.of(learnt_on)
        fitted = rule.fit(
            seen.logits, seen.labels, [recorded_scores(score) for score in seen.scores], alike=alike[learnt_on]
        )
        change[rows], gains, of_hard = _judged(fitted, seen, held_out.of(rows))
        likelier.append(gains)
        hard.append(rows[of_hard.cpu()])
        nowhere &= fitted.detection.threshold == NOTHING_HARD
    accuracy, likelihood = Mean.of(change, alike), Mean.of(torch.cat(likelier), alike[torch.cat(hard)])
    evidence = (*accuracy.interval, *likelihood.interval, accuracy.n, likelihood.n)
    decisions = {criterion: _decided(accuracy, likelihood, criterion, nowhere=nowhere) for criterion in CRITERIA}
    return {criterion: Verdict(deploy, *evidence, reason) for criterion, (deploy, reason) in decisions.items()}


@dataclass(frozen=True)
class Rows:
    """Some held-out rows: logits, labels and each view's scores."""

    logits: Tensor
    labels: Tensor
    scores: Sequence[Tensor]

    def of(self, rows: Tensor) -> Rows:
        """Return some of them."""
        return Rows(self.logits[rows], self.labels[rows], [score[rows] for score in self.scores])


def _judged(fitted: FittedRule, seen: Rows, new: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Return the new rows' gain in accuracy, `(rows,)`, the hard ones' in likelihood, and which are hard, `(rows,)`."""
    learnt, found = (
        fitted.rerank(rows.logits, [recorded_scores(score) for score in rows.scores]) for rows in (seen, new)
    )
    right = (found.labels == new.labels).double() - (new.logits.argmax(dim=-1) == new.labels).double()
    hard, learnt_hard = found.hard, learnt.hard
    of_new, of_seen, seen_labels = new.logits[hard], seen.logits[learnt_hard], seen.labels[learnt_hard]
    before = calibrated(log_softmax(of_new), log_softmax(of_seen), seen_labels)
    ranked, learnt_ranked = log_ranked(found.scores[hard], of_new), log_ranked(learnt.scores[learnt_hard], of_seen)
    after = calibrated(ranked, learnt_ranked, seen_labels)
    return right, (after - before).gather(1, new.labels[hard][:, None])[:, 0], hard


@dataclass(frozen=True)
class Mean:
    """A mean over rows and its standard error, by leaving out one text after the other (jackknife)."""

    value: float
    error: float
    n: int
    texts: int

    @classmethod
    def of(cls, values: Tensor, alike: Tensor) -> Mean:
        """Return the mean of values `(n,)` of texts `(n,)`; NaN of none, with an error of NaN below 2 texts."""
        n = len(values)
        _, text, sizes = alike.to(values.device).unique(return_inverse=True, return_counts=True)
        texts, mean = len(sizes), values.mean()
        off = values.new_zeros(texts).index_add(0, text, values - mean) / (n - sizes)  # of the mean without that text
        error = math.sqrt((texts - 1) / texts * off.square().sum().item()) if texts > 1 else math.nan
        return cls(mean.item() if n else math.nan, error, n, texts)

    @property
    def interval(self) -> tuple[float, float, float]:
        """The mean, and its bounds by Student's distribution."""
        reach = float(student.ppf(LEVEL, self.texts - 1)) * self.error if self.texts > 1 else math.nan
        return self.value, self.value - reach, self.value + reach


def _decided(accuracy: Mean, likelihood: Mean, criterion: str, *, nowhere: bool) -> tuple[bool, str]:
    """Return whether to deploy, and why; `nowhere` says that no row would be hard."""
    if nowhere:
        return False, f"reranking off: nowhere among {accuracy.n:,} held-out rows does it gain anything"
    copies = f", which have {likelihood.texts:,} texts" if likelihood.texts < likelihood.n else ""
    if likelihood.texts < LEAST_HARD:
        return False, (
            f"reranking off: {likelihood.n} of {accuracy.n:,} held-out rows are hard{copies}, too few to tell whether "
            f"it pays (at least {LEAST_HARD})"
        )
    where = f"on {likelihood.n:,} hard of {accuracy.n:,} held-out rows" + copies
    if not any((accuracy.value, accuracy.error, likelihood.value, likelihood.error)):
        return False, f"reranking off: it changes nothing {where}"
    deploy, reason = (_by_accuracy if criterion == "accuracy" else _by_likelihood)(accuracy, likelihood, where)
    return deploy, f"reranking {'on' if deploy else 'off'}: {reason}"


def _by_accuracy(accuracy: Mean, likelihood: Mean, where: str) -> tuple[bool, str]:
    if accuracy.interval[1] > 0:
        return True, f"it brings {_points(accuracy)} {where}"
    return False, f"{_points(accuracy)} {where} {_loss(accuracy)}"


def _by_likelihood(accuracy: Mean, likelihood: Mean, where: str) -> tuple[bool, str]:
    beyond_chance = likelihood.interval[1] > 0
    likelier = beyond_chance and likelihood.value >= WORTH
    clearly = CLEARLY * accuracy.error
    points, nats = _points(accuracy), _nats(likelihood)
    if (likelier and accuracy.value >= -clearly) or (beyond_chance and accuracy.value >= clearly > 0):
        at_a_loss = f"at {points} {where}, a loss that may be chance"
        return True, f"it brings {nats} " + (at_a_loss if accuracy.value < 0 else f"and {points} {where}")
    if accuracy.interval[1] > 0:
        return True, f"it brings {points} {where}, though the true labels get no likelier, {nats}"
    if likelier:
        return False, f"the true labels get likelier, {nats}, and yet it costs {points} {where}"
    if beyond_chance:
        return False, f"the true labels get hardly likelier, {nats}, and {points} {where} {_loss(accuracy)}"
    return False, f"{nats} and {points} {where} {_loss(likelihood)}"


def _loss(gain: Mean) -> str:
    """Return what is said of a gain whose lower bound is not above 0."""
    return "are a loss" if gain.interval[2] < 0 else "may be chance"


def _points(accuracy: Mean) -> str:
    gain, low, _ = accuracy.interval
    return f"{100 * gain:+.2f} points of accuracy (at least {100 * low:+.2f})"


def _nats(likelihood: Mean) -> str:
    gain, low, _ = likelihood.interval
    return f"{gain:+.3f} nats per hard row (at least {low:+.3f})"
