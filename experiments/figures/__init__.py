"""The paper's figures, what its detectors' order is worth, and when reranking pays, all from what runs left behind."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.figures import (
    case_study,
    label_distance,
    label_distribution,
    marginal_effect,
    top_logits,
    topk_accuracy,
    trade_off,
    when_it_pays,
)
from experiments.figures.plate import Plate
from experiments.runs.configurations import Configuration


def plates(configurations: Sequence[Configuration]) -> list[Plate]:
    """Return every figure, the paper's first and in its order, with what the runs have for it.

    Of a classifier that was run both with all of the method and with less of it, as an ablation, the former is drawn.
    """
    full = [configuration for configuration in configurations if configuration.variant == "full"]
    whole = {(configuration.dataset, configuration.model) for configuration in full if configuration.runs}
    drawn = [
        configuration
        for configuration in configurations
        if configuration.variant == "full" or (configuration.dataset, configuration.model) not in whole
    ]
    modules = (topk_accuracy, marginal_effect, top_logits, case_study, label_distribution, label_distance)
    beside = (trade_off.risk_plate, trade_off.cost_plate, when_it_pays.plate)
    return [*(module.plate(drawn) for module in modules), *(plate(drawn) for plate in beside)]
