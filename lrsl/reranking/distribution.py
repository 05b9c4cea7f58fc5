"""Scores as probabilities: what fusions give has other scales, and may not even sum to 1."""

from __future__ import annotations

from torch import Tensor

from lrsl.reranking.fusion.likelihood import maximum_likelihood

CRITERIA = ("likelihood", "accuracy")
"""By what a gain is told: how likely the true labels get, or how many answers are right."""

FLOOR = 1e-4  # of a probability, as a share of the row's largest


def log_distribution(scores: Tensor) -> Tensor:
    """Return the logarithm of scores `(n, classes)` divided by their sum; what is below the floor counts as much."""
    largest = scores.double().amax(dim=-1, keepdim=True)
    share = (scores.double() / largest).where(largest > 0, 1.0)  # without a score above 0 no label is likelier
    return share.clamp(min=FLOOR).log().log_softmax(dim=-1)


def temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the temperature that makes the true labels `(n,)` likeliest; log-probabilities are divided by it."""
    return maximum_likelihood(log_probabilities, labels, []).temperature


def calibrated(log_probabilities: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
    """Return log-probabilities with the temperature that those seen, and the true labels of these, ask for."""
    return (log_probabilities / temperature(seen, labels)).log_softmax(dim=-1)
