"""Scores as probabilities: what fusions give has other scales, and may not even sum to 1."""

from __future__ import annotations

from torch import Tensor

from lrsl.reranking.fusion.likelihood import maximum_likelihood

CRITERIA = ("likelihood", "accuracy")
"""By what a gain is told: how likely the true labels get, or how many answers are right."""

FLOOR = 1e-4  # of a label made impossible, as a share of the row's largest probability


def log_distribution(scores: Tensor) -> Tensor:
    """Return the logarithm of scores `(n, classes)` divided by their sum, in float64.

    A label whose score is 0 or below is a ten-thousandth as likely as the likeliest, and no likelier than any whose
    score is above 0. Where none is, the highest score is the likeliest, and shares fall evenly to that of the lowest.
    """
    scores = scores.double()
    largest, smallest = scores.amax(dim=-1, keepdim=True), scores.amin(dim=-1, keepdim=True)
    evenly = FLOOR + (1 - FLOOR) * (scores - smallest) / (largest - smallest)
    share = (scores / largest).where(largest > 0, evenly.where(largest > smallest, 1.0))
    least = share.where(share > 0, FLOOR).amin(dim=-1, keepdim=True).clamp(max=FLOOR)
    return share.where(share > 0, least).log().log_softmax(dim=-1)


def log_ranked(scores: Tensor, logits: Tensor) -> Tensor:
    """Return log-probabilities `(n, classes)`, float64, of what rows are ranked by.

    Where that is the classifier's softmax they come from the logits, since what is all but impossible rounds to 0 in
    probabilities: a temperature would find less in the one than in the other.
    """
    same = (scores == logits.softmax(dim=-1, dtype=scores.dtype)).all(dim=-1, keepdim=True)
    return log_softmax(logits).where(same, log_distribution(scores))


def log_softmax(logits: Tensor) -> Tensor:
    """Return the classifier's log-probabilities `(n, classes)` in float64."""
    return logits.double().log_softmax(dim=-1)


def temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the temperature that makes the true labels `(n,)` likeliest; log-probabilities are divided by it."""
    return maximum_likelihood(log_probabilities, labels, []).temperature


def calibrated(log_probabilities: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
    """Return log-probabilities with the temperature that those seen, and the true labels of these, ask for."""
    return (log_probabilities / temperature(seen, labels)).log_softmax(dim=-1)
