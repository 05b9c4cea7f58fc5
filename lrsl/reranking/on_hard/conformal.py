"""Sets of labels for hard rows, which hold the true label as often as stated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrsl.errors import InputError
from lrsl.reranking.checks import check_labels, check_logits, check_scores
from lrsl.reranking.distribution import log_ranked, log_softmax, temperature
from lrsl.reranking.folds import folds as dealt
from lrsl.reranking.positional import check_no_probabilities
from lrsl.reranking.rule import Reranked, Rule, recorded_scores

HeldOut = tuple[Tensor, Tensor, Sequence[Tensor], Tensor | None]  # logits, labels, scores, and which are alike
ROUNDING = 1e-9  # 1 - 0.9 is not quite 0.1


@dataclass(frozen=True, eq=False)
class Conformal:
    """How unlikely the true labels of hard held-out rows were, by which new rows are judged (Vovk et al., 2005).

    Attributes:
        nonconformity: 1 - p(true label) of each hard held-out row, `(n,)`, by a rule that was not fitted on it.
        temperature: divides the log-probabilities of new rows.
    """

    nonconformity: Tensor
    temperature: float

    def suffices(self, coverage: float) -> bool:
        """Return whether there are rows enough to leave out a label: at least 1 / (1 - coverage) - 1.

        With fewer every set is all labels.
        """
        return (len(self.nonconformity) + 1) * (1 - coverage) >= 1 - ROUNDING

    def sets(self, log_probabilities: Tensor, coverage: float) -> Tensor:
        """Return the labels whose p-value is above 1 - coverage, and the best one, `(n, classes)` bool.

        Args:
            log_probabilities: of the labels of hard rows, `(n, classes)`.
            coverage: the least share of rows whose set is to hold the true label, between 0 and 1.

        Raises:
            ValueError: the coverage is out of range.
            InputError: crepes is not installed.
        """
        check_coverage(coverage)
        found = _nonconformity(log_probabilities, self.temperature) <= self._largest(coverage)
        return found.scatter(1, log_probabilities.argmax(dim=-1, keepdim=True), True)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return both attributes as tensors, for `restored`."""
        value = torch.tensor(self.temperature, dtype=torch.float64)
        return {"nonconformity": self.nonconformity, "temperature": value}

    def _largest(self, coverage: float) -> float:
        """Return the largest non-conformity with a p-value above 1 - coverage.

        A p-value changes at the held-out rows' numbers only, so it is asked for these and for one beyond them all.
        """
        beyond = torch.tensor([torch.inf], dtype=torch.float64)
        steps = torch.cat([self.nonconformity.sort().values, beyond])
        model = _crepes().ConformalClassifier().fit(self.nonconformity.numpy())
        p_values = torch.from_numpy(model.predict_p(steps.numpy(), smoothing=False))
        allowed = steps[p_values > 1 - coverage + ROUNDING]
        return float(allowed.max()) if len(allowed) else -torch.inf


def restored(learnt: Mapping[str, Tensor]) -> Conformal:
    """Return what gave `learnt`."""
    return Conformal(learnt["nonconformity"], float(learnt["temperature"]))


def calibrated(
    rule: Rule,
    logits: Tensor,
    labels: Tensor,
    scores: Sequence[Tensor],
    *,
    alike: Tensor | None = None,
    reranks: bool = True,
    folds: int = 10,
) -> Conformal:
    """Learn from held-out rows how unlikely the true label of a hard row may be, by cross-fitting.

    Detector, threshold and fusion are fitted on all folds but one, as is a temperature of what the fusion gives, and
    the hard rows of that one are looked at. New rows meet the rule that was fitted on all folds, so that the coverage
    holds as nearly as rules that were fitted on a little less than all rows are like the one fitted on all
    (cross-conformal prediction; Vovk, 2015).

    Args:
        rule: the rule, not fitted.
        logits: the classifier's on held-out rows, `(n, classes)`.
        labels: their true labels, `(n,)`.
        scores: each view's, `(n, classes)`, NaN for labels that a view has not scored.
        alike: of each row the first with the same text, `(n,)`, where no fold is to have copies of another's rows.
        reranks: whether hard rows are reranked; else the classifier's probabilities are taken as they are.
        folds: number of folds, at least 2; no more than rows are dealt.

    Raises:
        ValueError: the shapes do not fit, the logits are probabilities, or a logit or a score is not finite.
    """
    check_logits(logits)
    check_no_probabilities(logits)
    check_labels(labels, *logits.shape)
    check_scores(scores, logits)
    if len(logits) < 2:
        return Conformal(torch.zeros(0, dtype=torch.float64), 1.0)
    every = torch.arange(len(logits))
    turns = dealt(len(logits), folds, alike)
    held_out = logits, labels, scores, alike
    found = [_judged(rule, held_out, seen, new, reranks)[1] for seen, new in turns]
    return Conformal(torch.cat(found), _judged(rule, held_out, every, every[:0], reranks)[0])


def label_sets(
    conformal: Conformal, reranked: Reranked, logits: Tensor, coverage: float, *, reranks: bool = True
) -> Tensor:
    """Return the labels of each row, `(n, classes)` bool: a conformal set for hard rows, the one label for easy ones.

    Args:
        conformal: learnt on held-out rows.
        reranked: what the rule makes of the rows.
        logits: the classifier's, `(n, classes)`.
        coverage: the least share of hard rows whose set is to hold the true label.
        reranks: as in `calibrated`.

    Raises:
        ValueError: the coverage is out of range.
        InputError: crepes is not installed.
    """
    check_coverage(coverage)
    hard = reranked.hard
    sets = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    sets.scatter_(1, logits.argmax(dim=-1, keepdim=True), True)
    if hard.any():
        told = _told(reranked, logits, reranks=reranks)
        sets[hard] = conformal.sets(told.cpu(), coverage).to(sets.device)
    return sets


def check_coverage(coverage: float) -> None:
    """Check a coverage.

    Raises:
        ValueError: it is out of range.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}; it must be above 0 and below 1")


def check_installed() -> None:
    """Check that what makes the sets is there.

    Raises:
        InputError: crepes is not installed.
    """
    _crepes()


def _crepes() -> Any:
    try:
        with warnings.catch_warnings():  # it lets every warning be shown again
            import crepes  # noqa: PLC0415  (an extra)
    except ImportError:
        raise InputError(
            "sets of labels (on_hard=set) need a package that is not installed; pip install 'lrsl[conformal]' adds it"
        ) from None
    return crepes


def _judged(rule: Rule, held_out: HeldOut, seen: Tensor, new: Tensor, reranks: bool) -> tuple[float, Tensor]:
    """Return the temperature that the rows seen ask for, and the non-conformity of the hard ones among the new."""
    logits, labels, scores, alike = held_out
    copies = None if alike is None else alike[seen]
    fitted = rule.fit(logits[seen], labels[seen], [recorded_scores(score[seen]) for score in scores], alike=copies)
    learnt, found = (
        fitted.rerank(logits[rows], [recorded_scores(score[rows]) for score in scores]) for rows in (seen, new)
    )
    of_seen, of_new = (_told(made, logits[rows], reranks=reranks) for rows, made in ((seen, learnt), (new, found)))
    value = temperature(of_seen, labels[seen][learnt.hard])
    return value, _nonconformity(of_new, value).gather(1, labels[new][found.hard][:, None])[:, 0]


def _nonconformity(log_probabilities: Tensor, value: float) -> Tensor:
    return 1 - (log_probabilities / value).softmax(dim=-1)


def _told(made: Reranked, logits: Tensor, *, reranks: bool) -> Tensor:
    """Return log-probabilities of the labels of hard rows, after reranking or by the classifier."""
    hard = logits[made.hard]
    return log_ranked(made.scores[made.hard], hard) if reranks else log_softmax(hard)
