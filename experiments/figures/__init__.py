"""The paper's figures, drawn from what runs left behind alone."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.configurations import Configuration
from experiments.figures import (
    case_study,
    label_distance,
    label_distribution,
    marginal_effect,
    top_logits,
    topk_accuracy,
)
from experiments.figures.plate import Plate


def plates(configurations: Sequence[Configuration]) -> list[Plate]:
    """Return every figure, in the paper's order, with what the runs have for it."""
    modules = (topk_accuracy, marginal_effect, top_logits, case_study, label_distribution, label_distance)
    return [module.plate(configurations) for module in modules]
