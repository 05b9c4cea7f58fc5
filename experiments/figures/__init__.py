"""The paper's figures, drawn from what runs left behind alone."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.figures import (
    case_study,
    label_distance,
    label_distribution,
    marginal_effect,
    top_logits,
    topk_accuracy,
)
from experiments.figures.plate import Plate
from experiments.runs.configurations import Configuration


def plates(configurations: Sequence[Configuration]) -> list[Plate]:
    """Return every figure, in the paper's order, with what the runs have for it.

    Of a classifier that was run both with all of the method and with less of it, as an ablation, the former is drawn.
    """
    whole = {(one.dataset, one.model) for one in configurations if one.variant == "full" and one.runs}
    drawn = [one for one in configurations if one.variant == "full" or (one.dataset, one.model) not in whole]
    modules = (topk_accuracy, marginal_effect, top_logits, case_study, label_distribution, label_distance)
    return [module.plate(drawn) for module in modules]
