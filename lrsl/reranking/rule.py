"""Finding hard samples and reranking them: the one implementation behind runs, the callback and `lrsl.Reranker`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from lrsl.reranking.detector import Detector, FittedDetector
from lrsl.reranking.detector.topk_variance import TopKVariance
from lrsl.reranking.distribution import calibrated, log_ranked
from lrsl.reranking.folds import folds
from lrsl.reranking.fusion import FittedFusion, Fusion
from lrsl.reranking.fusion.paper import Paper
from lrsl.reranking.positional import texts_of
from lrsl.reranking.threshold import ThresholdRule
from lrsl.reranking.threshold.sigma2_mis import Sigma2Mis
from lrsl.reranking.view import FittedCandidateView, FittedView, View

RowScores = Callable[[Tensor, Tensor], Tensor]
"""Gives scores `(m, classes)` for the numbers `(m,)` of some rows and the classifier's logits `(m, classes)` of them.

NaN stands for labels that are not scored.
"""

FOLDS = 5  # in which held-out rows tell what reranking would answer


def scores_of_texts(view: View, fitted: FittedView | FittedCandidateView, texts: Sequence[str], k: int) -> RowScores:
    """Return what a view makes of texts, computed for the rows that are asked for.

    Args:
        view: says whether it scores candidates only.
        fitted: the same view, fitted.
        texts: the text of each row.
        k: number of candidates.

    Raises:
        ValueError: the texts are no strings in an order.
    """
    texts = texts_of(texts)

    def scores(rows: Tensor, logits: Tensor) -> Tensor:
        asked = [texts[row] for row in rows.tolist()]
        if not getattr(view, "scores_candidates", False):
            return _of_shape(cast(FittedView, fitted)(asked), logits, fitted)
        candidates = logits.topk(min(k, logits.shape[1]), dim=-1).indices
        known = _of_shape(cast(FittedCandidateView, fitted)(asked, candidates), candidates, fitted)
        return known.new_full(logits.shape, torch.nan).scatter(1, candidates.to(known.device), known)

    return scores


def _of_shape(scores: Tensor, like: Tensor, view: FittedView | FittedCandidateView) -> Tensor:
    if scores.shape != like.shape:
        raise ValueError(
            f"{type(view).__name__} gave scores of shape {tuple(scores.shape)}; for {len(like)} texts it must be "
            f"{tuple(like.shape)}"
        )
    return scores


def recorded_scores(scores: Tensor) -> RowScores:
    """Return scores `(n, classes)` that were computed before, for the rows that are asked for."""
    return lambda rows, logits: scores[rows]


@dataclass(frozen=True)
class Detection:
    """A fitted detector and a threshold.

    Attributes:
        detector: gives one number per row of logits, low where it is hard.
        threshold: rows strictly below it are hard; σ²_mis with the paper's detector and threshold rule.
    """

    detector: FittedDetector
    threshold: float

    def is_hard(self, logits: Tensor) -> Tensor:
        """Return which rows are hard, `(n,)` bool."""
        return self.detector(logits).double() < self.threshold


@dataclass(frozen=True)
class Reranked:
    """What reranking made of some rows.

    Attributes:
        hard: which rows are hard, `(n,)` bool.
        view_scores: each view's scores of the hard rows, `(hard rows, classes)`; NaN of a view that was not asked.
        scores: what to rank by, `(n, classes)`: the fusion's for hard rows, softmax(logits) for easy ones.
        labels: the answers, `(n,)`; easy rows keep the classifier's.
    """

    hard: Tensor
    view_scores: tuple[Tensor, ...]
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class FittedRule:
    """A rule that has been fitted: which rows are hard, and how those are ranked anew.

    Attributes:
        detection: the detector and the threshold.
        fusion: joins logits and views.
    """

    detection: Detection
    fusion: FittedFusion

    def rerank(self, logits: Tensor, scores: Sequence[RowScores], rows: Tensor | None = None) -> Reranked:
        """Rerank the hard rows; views are asked for these only, and not at all where the fusion has no use for them.

        Args:
            logits: the classifier's, `(n, classes)`.
            scores: what each view makes of rows.
            rows: the numbers by which `scores` knows the rows of the logits, `(n,)`; 0 to n - 1 if not given.
        """
        hard = self.detection.is_hard(logits)
        answers = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
        labels = logits.argmax(dim=-1)
        if not hard.any():
            return Reranked(hard, tuple(answers[:0] for _ in scores), answers, labels)
        asked = hard.nonzero().flatten() if rows is None else rows.to(hard.device)[hard]
        shape = len(asked), logits.shape[1]
        given = tuple(
            score(asked.cpu(), logits[hard]).to(logits.device)
            if self.asks(number)
            else answers.new_full(shape, torch.nan)
            for number, score in enumerate(scores)
        )
        answers[hard] = _fused(self.fusion, logits[hard], given).to(answers.dtype)
        labels[hard] = answers[hard].argmax(dim=-1)
        return Reranked(hard, given, answers, labels)

    def asks(self, view: int) -> bool:
        """Tell whether the view of this number is asked; a fusion that does not say asks each."""
        asks = getattr(self.fusion, "asks", None)
        return asks is None or bool(asks(view))


def _fused(fusion: FittedFusion, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
    """Return what a fusion makes of hard rows, `(n, classes)`, once it is known to be a number for every label."""
    fused = fusion(logits, scores)
    if fused.shape != logits.shape or fused.isnan().any():
        raise ValueError(
            f"{type(fusion).__name__} gave scores of shape {tuple(fused.shape)}, {int(fused.isnan().sum())} "
            f"of them NaN, for {len(logits)} hard rows; a fusion gives a number for every label"
        )
    return fused


@dataclass(frozen=True)
class Rule:
    """What a rule is made of, before it is fitted; the paper's unless said otherwise.

    Args:
        detector: one number per row of logits, low where it is hard.
        threshold: where hard ends and easy begins.
        fusion: how logits and views become one ranking.
    """

    detector: Detector = field(default_factory=TopKVariance)
    threshold: ThresholdRule = field(default_factory=Sigma2Mis)
    fusion: Fusion = field(default_factory=Paper)

    def detection(self, logits: Tensor, labels: Tensor) -> Detection:
        """Learn which samples are hard from held-out logits `(n, classes)` and labels `(n,)` (eq. 7).

        Raises:
            ValueError: the threshold rule needs to know what reranking would answer, which `fit` finds out.
        """
        if self.threshold.needs_answers:
            raise ValueError(
                f"{type(self.threshold).__name__} finds the threshold from what reranking would answer; "
                "fit the whole rule, with the views' scores"
            )
        detector = self.detector.fit(logits, labels)
        return Detection(detector, float(self.threshold.fit(detector(logits), logits, labels)))

    def fit(
        self,
        logits: Tensor,
        labels: Tensor,
        scores: Sequence[RowScores],
        detection: Detection | None = None,
        *,
        alike: Tensor | None = None,
    ) -> FittedRule:
        """Learn everything from held-out rows.

        Args:
            logits: the classifier's, `(n, classes)`.
            labels: true labels, `(n,)`.
            scores: what each view makes of the held-out rows.
            detection: which samples are hard, where that is known already.
            alike: of each row the first with the same text, `(n,)`, where no fold is to have copies of another's rows.
        """
        if detection is None and not self.threshold.needs_answers:
            detection = self.detection(logits, labels)
        rows = torch.arange(len(logits))
        given = [score(rows, logits) for score in scores]
        detection = detection or self._detection_on_answers(logits, labels, given, alike)
        return FittedRule(detection, self.fusion.fit(logits, labels, given, detection.is_hard(logits)))

    def _detection_on_answers(
        self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], alike: Tensor | None
    ) -> Detection:
        """Learn which samples are hard from what reranking would answer, by fusions that did not see the row."""
        fused = torch.empty_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        probabilities = self.fusion.gives_probabilities
        for learnt_on, rows in folds(len(logits), FOLDS, alike):
            every = torch.ones_like(learnt_on, dtype=torch.bool)
            seen = [score[learnt_on] for score in scores]
            fusion = self.fusion.fit(logits[learnt_on], labels[learnt_on], seen, every)
            found = _fused(fusion, logits[rows], [score[rows] for score in scores])
            if probabilities:  # one fold's may be surer of themselves than another's
                told = log_ranked(_fused(fusion, logits[learnt_on], seen), logits[learnt_on])
                found = calibrated(log_ranked(found, logits[rows]), told, labels[learnt_on]).exp()
            fused[rows] = found.to(fused)
        detector = self.detector.fit(logits, labels)
        hardness = detector(logits)
        threshold = self.threshold.fit_on_scores(hardness, logits, labels, fused, probabilities=probabilities)
        return Detection(detector, float(threshold))
