"""What a detector's order is worth: risk against coverage, and accuracy against the share that is reranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.predictions import predictions
from lrsl import metrics

POINTS = 400
"""The most points of a curve that are drawn."""

RISK = (
    "Error rate among the test samples that are answered against their share, the least hard first by each rule's "
    "detector: of the classifier (solid), and after reranking the hard ones (dashed). Lower is better."
)
COST = (
    "Accuracy on test against the share of samples that are reranked, the hardest first by each rule's detector. The "
    "point is the share that the rule's own threshold chose on validation."
)


@dataclass(frozen=True)
class Ordered:
    """The test samples as a rule orders them.

    Attributes:
        hardness: its detector's numbers, low where a sample is hard, (n,).
        hard: which samples it takes for hard, (n,) bool.
        before: which the classifier gets right, (n,) bool.
        if_hard: which are right if reranked, (n,) bool.
    """

    hardness: NDArray[np.float64]
    hard: NDArray[np.bool_]
    before: NDArray[np.bool_]
    if_hard: NDArray[np.bool_]

    @property
    def after(self) -> NDArray[np.bool_]:
        """Which samples are right after the hard ones are reranked, (n,) bool."""
        return np.where(self.hard, self.if_hard, self.before)


def ordered(lines: Sequence[Mapping[str, Any]]) -> dict[str, Ordered]:
    """Return the order of each rule, as far as the predictions tell."""
    if not lines or any("rerank_if_hard" not in line for line in lines):
        return {}
    gold = [line["gold"] for line in lines]
    before = np.array([line["origin"] == line["gold"] for line in lines])

    def made(parts: Sequence[Mapping[str, Any]], answer: str) -> Ordered:
        return Ordered(
            np.array([part["hardness"] for part in parts], dtype=np.float64),
            np.array([part["hard"] for part in parts]),
            before,
            np.array([part[answer] == label for part, label in zip(parts, gold, strict=True)]),
        )

    beside = set.intersection(*(set(line.get("beside", ())) for line in lines))
    names = [name for name in lines[0].get("beside", ()) if name in beside]
    others = {name: made([line["beside"][name] for line in lines], "if_hard") for name in names}
    return {"rerank": made(lines, "rerank_if_hard"), **others}


def risk_plate(configurations: Sequence[Configuration]) -> Plate:
    """Return risk against coverage, one panel per configuration: its lowest seed that kept its predictions."""
    panels, notes = _panels(configurations, draw_risk)
    return Plate("risk-coverage", "Risk of the samples that are answered", RISK, panels, notes)


def cost_plate(configurations: Sequence[Configuration]) -> Plate:
    """Return accuracy against the share that is reranked, one panel per configuration, as in `risk_plate`."""
    panels, notes = _panels(configurations, draw_cost)
    return Plate("cost-curve", "What reranking more samples comes to", COST, panels, notes)


def draw_risk(rules: Mapping[str, Ordered], axes: Axes) -> None:
    """Draw two curves per rule: the classifier's risk, and that after reranking."""
    for (name, rule), colour in zip(rules.items(), _colours(), strict=False):
        for correct, line in ((rule.before, "-"), (rule.after, (0, (4, 2)))):
            share, risk = _thinned(*metrics.risk_coverage(rule.hardness, correct))
            axes.plot(100 * share, 100 * risk, color=colour, linestyle=line, label=name if line == "-" else None)
    axes.set_xlabel("answered, %")
    axes.set_ylabel("error rate, %")
    axes.set_xlim(0, 100)
    axes.set_ylim(0)
    axes.legend()


def draw_cost(rules: Mapping[str, Ordered], axes: Axes) -> None:
    """Draw a curve per rule, and mark what its threshold chose."""
    for (name, rule), colour in zip(rules.items(), _colours(), strict=False):
        share, accuracy = _thinned(*metrics.cost_curve(rule.hardness, rule.before, rule.if_hard))
        axes.plot(100 * share, 100 * accuracy, color=colour, label=name)
        axes.plot([100 * rule.hard.mean()], [100 * rule.after.mean()], "o", color=colour)
    axes.set_xlabel("reranked, %")
    axes.set_ylabel("accuracy, %")
    axes.set_xlim(0, 100)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend()


def _panels(
    configurations: Sequence[Configuration], draw: Callable[[Mapping[str, Ordered], Axes], None]
) -> tuple[list[Panel], list[str]]:
    panels, notes = [], []
    for configuration in configurations:
        known = ((run, ordered(predictions(run))) for run in configuration.runs.values())
        run, rules = next(((run, rules) for run, rules in known if rules), (None, {}))
        if run is not None:
            panels.append(Panel(f"{heading(configuration)}, seed {run.seed}", partial(draw, rules)))
        elif configuration.runs:
            notes.append(f"{heading(configuration)}: no run kept predictions with rerank_if_hard.")
    return panels, notes


def _colours() -> Sequence[str]:
    return style.SERIES * 3


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points of a curve, both ends among them, so few that the file stays small."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int))
    return x[kept], y[kept]
