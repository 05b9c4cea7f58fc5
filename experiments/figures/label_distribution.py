"""Figure 7: how many training samples each label has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.labels import described

CAPTION = "Training samples per label, labels from the most frequent to the rarest."


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one panel per data set."""
    runs, notes = described(configurations)
    panels = [Panel(dataset, partial(draw, content["counts"]["train"])) for dataset, (_, content) in runs.items()]
    return Plate("figure7-label-distribution", "Label distribution", CAPTION, panels, notes, columns=3, height=1.9)


def draw(counts: Sequence[int], axes: Axes) -> None:
    """Draw a bar per label, the most frequent first."""
    ordered = np.sort(np.array(counts))[::-1]
    axes.bar(range(1, len(ordered) + 1), ordered, width=1.0 if len(ordered) > 40 else 0.8, color=style.BLUE)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(f"{len(ordered)} labels by rank")
    axes.set_ylabel("training samples")
    axes.text(
        0.98,
        0.95,
        f"most {ordered[0]:,}\nmedian {np.median(ordered):,.0f}\nfewest {ordered[-1]:,}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=7,
    )
