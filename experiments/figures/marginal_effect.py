"""Figures 4 and 10: what a larger threshold of hard samples gains, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.collect import Run
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.predictions import predictions
from lrsl.errors import InputError

CAPTION = (
    "Accuracy (left, solid) and number of samples reranked (right, dashed) against the threshold on the variance of "
    "the top-k logits. The vertical line is the threshold chosen automatically on validation; the curves are of test."
)


@dataclass(frozen=True)
class MarginalEffect:
    """Accuracy and number of hard samples at every threshold that makes a difference.

    Attributes:
        hardness: of each test sample, rising, (n,).
        correct: how many samples are right when the i hardest are reranked, i from 0 to n, (n + 1,).
    """

    hardness: NDArray[np.float64]
    correct: NDArray[np.int64]

    def hard(self, threshold: float) -> int:
        """Return how many samples are hard: their hardness lies strictly below the threshold."""
        return int(np.searchsorted(self.hardness, threshold, side="left"))

    def accuracy(self, threshold: float) -> float:
        """Return the accuracy with these samples reranked, as a fraction."""
        return float(self.correct[self.hard(threshold)] / len(self.hardness))

    def curve(self, chosen: float) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Return thresholds, rising, with the number of hard samples and the accuracy at each.

        What is left out lies on a level stretch of accuracy and between two neighbours a 200th apart in number, so
        that the steps up to each threshold are the whole truth and the file stays small. `chosen` is among them.
        """
        beyond = np.nextafter(self.hardness[-1], np.inf)  # where every sample is hard
        thresholds = np.unique(np.append(self.hardness, [min(0.0, self.hardness[0]), chosen, beyond]))
        counts = np.searchsorted(self.hardness, thresholds, side="left")
        accuracies = self.correct[counts] / len(self.hardness)
        level_ends = np.append(np.diff(accuracies) != 0, True)
        counted = np.append(True, np.diff(counts * 200 // len(self.hardness)) != 0)
        kept = level_ends | counted | (thresholds == chosen)
        return thresholds[kept], counts[kept], accuracies[kept]


def marginal_effect(unsorted: Sequence[Mapping[str, Any]]) -> MarginalEffect:
    """Return the effect of every threshold on these predictions: a line per test sample, in any order."""
    lines = sorted(unsorted, key=lambda line: line["hardness"])
    before = [line["origin"] == line["gold"] for line in lines]
    after = [line["rerank_if_hard"] == line["gold"] for line in lines]
    change = np.array(after, dtype=np.int64) - np.array(before, dtype=np.int64)
    correct = np.concatenate([[0], np.cumsum(change)]) + sum(before)
    return MarginalEffect(np.array([line["hardness"] for line in lines]), correct)


def of_run(run: Run) -> MarginalEffect | None:
    """Return the effect on a run's test; None when it did not keep what that takes.

    Raises:
        InputError: the automatic threshold does not give the figures in results.json, so the two files are of two runs.
    """
    lines = predictions(run)
    if not lines or any("rerank_if_hard" not in line for line in lines):
        return None
    effect = marginal_effect(lines)
    threshold, noted = run.results["sigma2_mis"], run.results["rerank"]["accuracy"]
    if effect.hard(threshold) != run.results["n_hard"] or not np.isclose(effect.accuracy(threshold), noted):
        raise InputError(
            f"{run.folder}: predictions.jsonl gives {effect.accuracy(threshold):.4f} for the automatic threshold and "
            f"results.json {noted:.4f}; they are of different runs, run again with rerun=true"
        )
    return effect


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one panel per configuration: its lowest seed that kept its predictions."""
    panels, notes = [], []
    for configuration in configurations:
        effects = ((run, of_run(run)) for run in configuration.runs.values())
        run, effect = next(((run, effect) for run, effect in effects if effect is not None), (None, None))
        if run is not None and effect is not None:
            panels.append(
                Panel(f"{heading(configuration)}, seed {run.seed}", partial(draw, effect, run.results["sigma2_mis"]))
            )
        elif configuration.runs:
            notes.append(f"{heading(configuration)}: no run kept predictions with rerank_if_hard.")
    return Plate("figure4-marginal-effect", "What the threshold of hard samples decides", CAPTION, panels, notes)


def draw(effect: MarginalEffect, chosen: float, axes: Axes) -> None:
    """Draw accuracy and number of hard samples against the threshold, and mark the one chosen."""
    thresholds, counts, accuracies = effect.curve(chosen)
    axes.plot(thresholds, 100 * accuracies, color=style.BLUE, drawstyle="steps-pre")
    axes.axvline(chosen, color=style.ORANGE)
    axes.plot([chosen], [100 * effect.accuracy(chosen)], "o", color=style.BLUE, markeredgecolor=style.ORANGE)
    axes.set_xlabel("threshold (variance of the top-k logits)")
    axes.set_ylabel("accuracy, %", color=style.BLUE)
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.ticklabel_format(axis="y", useOffset=False)

    right = axes.twinx()
    right.plot(thresholds, counts, color=style.VERMILION, linestyle=(0, (4, 2)))
    right.plot([chosen], [effect.hard(chosen)], "o", color=style.VERMILION, markeredgecolor=style.ORANGE)
    right.set_ylabel("hard samples", color=style.VERMILION)
    right.set_ylim(0)
    right.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    axes.text(
        0.98,
        0.04,
        f"automatic: {chosen:.3g}\n{effect.hard(chosen):,} hard, {100 * effect.accuracy(chosen):.2f} %",
        transform=axes.transAxes,
        ha="right",
        fontsize=7,
    )
