"""Figure 1b: how often the true label is among the classifier's k best, for k from 10 to 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.predictions import predictions

LARGEST = 10

CAPTION = (
    "Share of test samples whose true label is among the classifier's k best, before reranking, averaged over models "
    "(each over its seeds). A steep last step is what reranking can win back."
)


def topk_accuracy(lines: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the accuracy at k = 1, 2, … as fractions, as far as the predictions tell and no further than 10.

    Runs from before `gold_rank_before` was written tell it up to the k they kept.
    """
    if all("gold_rank_before" in line for line in lines):
        ranks = [line["gold_rank_before"] for line in lines]
        known = LARGEST
    else:
        ranks = [_rank(line) for line in lines]
        known = min(len(line["top_k_before"]) for line in lines)
    return [float(np.mean(np.array(ranks) <= k)) for k in range(1, known + 1)]


def by_dataset(configurations: Sequence[Configuration]) -> dict[str, list[float]]:
    """Return for each data set the mean over models of the accuracy at k = 1, 2, …, as far as all of them know it."""
    models: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for configuration in configurations:
        for run in configuration.runs.values():
            if lines := predictions(run):
                accuracies = topk_accuracy(lines)[: run.results.get("classes", LARGEST)]
                models[configuration.dataset][configuration.model].append(accuracies)
    return {dataset: _mean([_mean(runs) for runs in of.values()]) for dataset, of in models.items()}


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one line per data set."""
    curves = by_dataset(configurations)
    classes = {
        run.dataset: run.results.get("classes", LARGEST)
        for configuration in configurations
        for run in configuration.runs.values()
    }
    notes = [
        f"{dataset}: runs without gold_rank_before, so its line begins at k = {len(curve)}."
        for dataset, curve in curves.items()
        if len(curve) < min(LARGEST, classes[dataset])
    ]
    return Plate(
        name="figure1b-topk-accuracy",
        title="Accuracy from top 10 to top 1",
        caption=CAPTION,
        panels=[Panel("All data sets" if len(curves) > 1 else next(iter(curves)), partial(draw, curves))]
        if curves
        else [],
        notes=notes if curves else ["No run kept its predictions, which this figure is made of."],
        height=2.6,
    )


def draw(curves: Mapping[str, Sequence[float]], axes: Axes) -> None:
    """Draw a line per data set, k falling from left to right."""
    for number, (dataset, curve) in enumerate(curves.items()):
        axes.plot(
            range(1, len(curve) + 1),
            100 * np.array(curve),
            color=style.SERIES[number % len(style.SERIES)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            label=dataset,
        )
    axes.set_xticks(range(1, max(map(len, curves.values())) + 1))
    axes.invert_xaxis()
    axes.set_xlabel("k")
    axes.set_ylabel("top-k accuracy, %")
    if len(curves) > 1:
        axes.legend()


def _rank(line: Mapping[str, Any]) -> int:
    names = [name for name, _ in line["top_k_before"]]
    return names.index(line["gold"]) + 1 if line["gold"] in names else LARGEST + 1


def _mean(curves: Sequence[Sequence[float]]) -> list[float]:
    shortest = min(map(len, curves))
    return [float(value) for value in np.mean([curve[:shortest] for curve in curves], axis=0)]
