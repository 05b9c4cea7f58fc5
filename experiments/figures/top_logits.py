"""Figures 5 and 11: how far apart the best labels of hard samples lie, before and after reranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.predictions import predictions

CAPTION = (
    "The k best scores of every hard sample: logits before, similarity × softmax after, each scaled so that the "
    "smallest of the panel is 0 and the largest 10. Boxes hold the middle half, whiskers 90 %; the softmax has a part "
    "in the contrast."
)


def scaled(lines: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    """Return the k best scores of the hard samples from 0 to 10, (hard, k), best first.

    Args:
        lines: a line per test sample.
        key: `top_k_before` or `top_k_after`.
    """
    shown = [[score for _, score in line[key]] for line in lines if line["hard"]]
    k = min(map(len, shown), default=0)
    scores = np.array([of_line[:k] for of_line in shown])
    if not scores.size:
        return scores.reshape(0, 0)
    low, high = scores.min(), scores.max()
    return 10 * (scores - low) / (high - low) if high > low else np.zeros_like(scores)


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one panel per configuration, the hard samples of its seeds together."""
    panels, notes = [], []
    for configuration in configurations:
        lines = [line for run in configuration.runs.values() for line in predictions(run) if line["hard"]]
        if lines:
            before, after = scaled(lines, "top_k_before"), scaled(lines, "top_k_after")
            panels.append(Panel(heading(configuration), partial(draw, before, after)))
        elif configuration.runs:
            notes.append(f"{heading(configuration)}: no run kept predictions with a hard sample among them.")
    return Plate("figure5-top-logits", "The best labels' scores before and after reranking", CAPTION, panels, notes)


def draw(before: NDArray[np.float64], after: NDArray[np.float64], axes: Axes) -> None:
    """Draw a pair of boxes, before and after, for each place among the k best."""
    places = np.arange(1, before.shape[1] + 1)
    for values, shift, colour, hatch in ((before, -0.19, style.SKY, ""), (after, 0.19, style.VERMILION, "////")):
        drawn = axes.boxplot(
            values,
            positions=places + shift,
            widths=0.32,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            medianprops={"color": style.INK, "linewidth": 1.4},
            whiskerprops={"color": style.MUTED, "linewidth": 0.8},
            capprops={"color": style.MUTED, "linewidth": 0.8},
        )
        for box in drawn["boxes"]:
            box.set(facecolor=colour if not hatch else "none", edgecolor=colour, hatch=hatch, linewidth=0.8)
    axes.set_xticks(places, [_ordinal(place) for place in places])
    axes.set_xlabel(f"place among the {len(places)} best labels")
    axes.set_ylabel("score, scaled to 0–10")
    axes.set_ylim(-0.3, 10.3)
    axes.legend(
        handles=[
            Patch(facecolor=style.SKY, edgecolor=style.SKY, label=f"before, variance {_variance(before):.2f}"),
            Patch(
                facecolor="none",
                edgecolor=style.VERMILION,
                hatch="////",
                label=f"after, variance {_variance(after):.2f}",
            ),
        ],
        loc="upper right",
    )


def _variance(values: NDArray[np.float64]) -> float:
    """Return the mean over samples of the variance of the k best."""
    return float(values.var(axis=1).mean())


def _ordinal(place: int) -> str:
    ending = "th" if 10 < place % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
