"""Figure 9: how like each other the labels are to the text embedding, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.labels import described

CAPTION = (
    "Cosine similarity between the embeddings of every two label texts, off the shelf and fine-tuned; the lighter, the "
    "closer. Both of a pair have one scale; labels stand by group where the data set has groups."
)
NAMED = 40
"""The most labels whose names can be read beside a heat map."""


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, a row of two panels per data set."""
    runs, notes = described(configurations, "similarity_after")
    panels = []
    for dataset, (run, content) in runs.items():
        order = by_group(content)
        names = [content["labels"][label] for label in order]
        before, after = (_ordered(content.get(f"similarity_{when}"), order) for when in ("before", "after"))
        if before is None:
            notes.append(f"{dataset}: labels.json has no similarity_before, so there is nothing to compare with.")
        least = min(matrix.min() for matrix in (before, after) if matrix is not None)
        notes.append(f"{dataset}: as seen by {run.model}, seed {run.seed}.")
        for when, matrix in (("off the shelf", before), ("as used" if before is None else "fine-tuned", after)):
            if matrix is not None:
                title = f"{dataset}, {when}: mean {off_diagonal(matrix):.2f}"
                panels.append(Panel(title, partial(draw, matrix, names, (least, 1.0))))
    return Plate(
        "figure9-label-distance", "Distance between labels", CAPTION, panels, notes, height=3.1, screen=(4.6, 4.0)
    )


def by_group(content: dict[str, Any]) -> list[int]:
    """Return the labels' order: by group, in the order in which groups first come, and as they stand within one."""
    groups = content.get("groups")
    if not groups:
        return list(range(len(content["labels"])))
    first = {group: place for place, group in reversed(list(enumerate(groups)))}
    return sorted(range(len(groups)), key=lambda label: first[groups[label]])


def off_diagonal(matrix: NDArray[np.float64]) -> float:
    """Return the mean similarity of two different labels."""
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else float("nan")


def draw(matrix: NDArray[np.float64], names: Sequence[str], scale: tuple[float, float], axes: Axes) -> None:
    """Draw one heat map with its colour bar."""
    image = axes.imshow(matrix, cmap=style.SEQUENTIAL, vmin=scale[0], vmax=scale[1], interpolation="nearest")
    axes.grid(visible=False)
    if len(names) <= NAMED:
        few = len(names) <= 12
        size = 7 if few else 4.4
        axes.set_xticks(range(len(names)) if few else [], names if few else [], rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.tick_params(length=1.5, pad=1)
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5)


def _ordered(matrix: Any, order: Sequence[int]) -> NDArray[np.float64] | None:
    return None if matrix is None else np.array(matrix, dtype=np.float64)[np.ix_(order, order)]
