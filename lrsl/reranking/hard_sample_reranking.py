"""Finding hard samples and reranking them: the one implementation behind the callback and `lrsl.Reranker`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl import core
from lrsl.reranking.detector import Detector


@dataclass(frozen=True)
class Reranked:
    """What reranking made of a batch.

    Attributes:
        hard: which rows are hard, `(n,)` bool.
        similarity: the view's scores of the hard rows, `(hard rows, classes)`.
        scores: what to rank by, `(n, classes)`: eq. 10 for hard rows, softmax(logits) for easy ones.
    """

    hard: Tensor
    similarity: Tensor
    scores: Tensor


class HardSampleReranking:
    """A detector, a threshold learnt on held-out samples, and a view that reranks what lies below it.

    Args:
        detector: one number per row of logits, low where it is hard.
        power: exponent on the view's score (eq. 10).

    Attributes:
        threshold: what `fit` found, σ²_mis with the paper's detector; None before.
        view: gives scores `(n, classes)` for n texts; needed by `rerank` only, so it may be set after `fit`.
    """

    def __init__(
        self, detector: Detector, power: float = 1.0, view: Callable[[Sequence[str]], Tensor] | None = None
    ) -> None:
        self.detector = detector
        self.power = power
        self.view = view
        self.threshold: float | None = None

    def fit(self, logits: Tensor, labels: Tensor) -> float:
        """Learn the threshold from held-out logits `(n, classes)` and labels `(n,)`, and return it (eq. 7)."""
        self.threshold = core.mean_of_misclassified(self.detector(logits), logits, labels)
        return self.threshold

    def is_hard(self, logits: Tensor) -> Tensor:
        """Return which rows are hard, `(n,)` bool: detector strictly below the threshold."""
        if self.threshold is None:
            raise RuntimeError("no threshold yet; call fit with held-out logits and labels first")
        return self.detector(logits).double() < self.threshold

    def rerank(self, logits: Tensor, texts: Sequence[str]) -> Reranked:
        """Rerank the hard rows; only their texts are given to the view."""
        if self.view is None:
            raise RuntimeError("no view yet; set one before reranking")
        hard = self.is_hard(logits)
        rows = hard.nonzero().flatten().tolist()
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
        similarity = self.view([texts[row] for row in rows]) if rows else scores[:0]
        if rows:
            scores[hard] = core.rerank(logits[hard], similarity.to(logits.device), self.power).to(scores.dtype)
        return Reranked(hard=hard, similarity=similarity, scores=scores)
