"""Logits and any number of views, each with the weight that held-out rows give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl import core
from lrsl.reranking.checks import check_labels, check_logits, check_scores
from lrsl.reranking.fusion import FittedFusion, Fusion
from lrsl.reranking.fusion.likelihood import filled, maximum_likelihood


@dataclass(frozen=True)
class LogLinear(Fusion):
    r"""The weighted sum of logits and views, $softmax(z / T + \sum_v \beta_v f_v)$, fitted by maximum likelihood.

    Scores are taken as they are, in whatever units: a view's weight makes up for its scale, and a view that is not
    worth its price gets a weight of exactly 0 (`lrsl.reranking.fusion.likelihood.maximum_likelihood`). A label that a
    view has not scored counts as the smallest of its row's scores, and a row that it has not scored at all as 0.

    Args:
        rows: which held-out rows it is fitted on: `hard` or `all`.
        hard_weight: how much more a hard row counts than an easy one, with `all`.
        penalty: price of a view's weight, in standard errors of the evidence for it.

    Raises:
        ValueError: one of them is out of range or has no effect.
    """

    rows: str = "hard"
    hard_weight: float = 1.0
    penalty: float = 1.0

    gives_probabilities = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.rows not in ("hard", "all"):
            raise ValueError(f"rows is {self.rows!r}; it must be 'hard' or 'all'")
        if not self.hard_weight > 0:
            raise ValueError(f"hard_weight is {self.hard_weight}; it must be above 0")
        if self.rows == "hard" and self.hard_weight != 1:
            raise ValueError(f"hard_weight is {self.hard_weight} and has no effect with rows='hard'; leave it at 1")
        if not self.penalty >= 0:
            raise ValueError(f"penalty is {self.penalty}; it must be at least 0")

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> FittedLogLinear:
        """Learn temperature and weights; with fewer than 10 rows, or one label alone, every weight is 0.

        Raises:
            ValueError: the shapes do not fit, or a logit or a score is not finite.
        """
        check_logits(logits)
        check_labels(labels, *logits.shape)
        check_scores(scores, logits)
        used = hard if self.rows == "hard" else torch.ones_like(hard)
        weights = torch.where(hard, self.hard_weight, 1.0)
        temperature, beta = maximum_likelihood(
            logits[used], labels[used], [filled(score)[used] for score in scores], weights[used], self.penalty
        )
        return FittedLogLinear(temperature, torch.tensor(beta, dtype=torch.float64))

    def restore(self, learnt: Mapping[str, Tensor]) -> FittedLogLinear:
        """Take temperature and weights back."""
        return FittedLogLinear(float(learnt["temperature"]), learnt["beta"])


@dataclass(frozen=True, eq=False)
class FittedLogLinear(FittedFusion):
    """A weighted sum of logits and views.

    Attributes:
        temperature: the logits are divided by it.
        beta: the weight of each view, `(views,)`.
    """

    temperature: float
    beta: Tensor

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return probabilities `(n, classes)`; softmax(logits), to the bit, where every weight is 0.

        Raises:
            ValueError: there are more or fewer views than were fitted, or a logit or a score is not finite.
        """
        if len(scores) != len(self.beta):
            raise ValueError(f"the fusion was fitted with {len(self.beta)} views, and there are {len(scores)}")
        check_logits(logits)
        check_scores(scores, logits)
        dtype = core.at_least_float32(logits)
        if not self.beta.any():
            return logits.softmax(-1, dtype=dtype)
        fused = logits.double() / self.temperature
        for beta, score in zip(self.beta.tolist(), scores, strict=True):
            if beta:
                fused += beta * filled(score).to(logits.device)
        return fused.softmax(-1).to(dtype)

    def asks(self, view: int) -> bool:
        """Tell whether a view has a weight."""
        return bool(self.beta[view] != 0)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return temperature and weights."""
        return {"temperature": torch.tensor(self.temperature, dtype=torch.float64), "beta": self.beta}
