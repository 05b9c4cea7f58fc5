"""When reranking pays: what is gained against the number of training samples per label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs import significance
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading

PER_CLASS = "dataset.per_class"
FOLDS = "reranker.folds"
SIZE = "dataset.size"
ALL = "all"
SYSTEMS = {
    "rerank": "the paper's rule",
    "fitted": "fitted",
    "control": "control",
    "similarity": "similarity alone",
}
"""What is compared with the classifier, and what it is called."""

HEADROOM = 0.3
"""What is kept free above the lines for the legend, in parts of what they take."""

CAPTION = (
    "Gain on test over the classifier, in points, against the number of training samples per label, with as many for "
    "validation: mean over the seeds, each of which drew its own samples. Bars are 95 % intervals, clustered over the "
    "test samples. The control is a second classifier in place of the views."
)


@dataclass(frozen=True)
class Point:
    """What a system gains with so many samples per label, as fractions.

    Attributes:
        gain: mean over the seeds.
        low: lower end of its 95 % interval; None where it cannot be known.
        high: upper end.
    """

    gain: float
    low: float | None
    high: float | None


def points(configurations: Mapping[str, Configuration]) -> dict[str, dict[str, Point]]:
    """Return the gain of each system by the number of samples, where all seeds measured it.

    Args:
        configurations: runs by what stands below the axis, of one data set and classifier.
    """
    found: dict[str, dict[str, Point]] = defaultdict(dict)
    for number, configuration in configurations.items():
        for system in SYSTEMS:
            gains = configuration.differences("origin", system)
            if len(gains) == len(configuration.runs):
                worth = significance.gain(list(configuration.runs.values()), "origin", system)
                found[system][number] = Point(float(np.mean(gains)), worth.low, worth.high)
    return dict(found)


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one panel per data set and classifier that was trained on few samples per label.

    Of several configurations with as many samples, the one of most seeds is drawn; of equally many none.
    """
    panels, notes = [], []
    together: dict[tuple[object, ...], dict[int | None, list[Configuration]]] = defaultdict(lambda: defaultdict(list))
    for configuration in configurations:
        if configuration.runs and not configuration.settings.get(FOLDS):  # in folds validation is trained on, too
            number = configuration.settings.get(PER_CLASS)
            corpus = (configuration.dataset, configuration.settings.get(SIZE))  # a larger one has other tests
            together[(*corpus, configuration.model)][number].append(configuration)
    for (dataset, _, model), by_number in together.items():
        few = sorted(number for number in by_number if number is not None)
        if not few:
            continue
        shown = {}
        for number in [*few, *([None] if None in by_number else [])]:
            with_fitted = [one for one in by_number[number] if one.values("fitted")] or by_number[number]
            most = max(len(one.runs) for one in with_fitted)
            drawn = [one for one in with_fitted if len(one.runs) == most]
            if len(drawn) == 1:
                shown[ALL if number is None else str(number)] = drawn[0]
            else:
                names = "; ".join(map(heading, drawn))
                notes.append(f"Several configurations have as many samples per label, and none is drawn: {names}.")
        if set(shown) - {ALL}:
            panels.append(Panel(f"{dataset}, {model}", partial(draw, list(shown), points(shown))))
    if not panels and not notes:
        notes.append(f"No run was trained on few samples per label; {PER_CLASS}=5 does that.")
    return Plate("when-it-pays", "What is gained with how many training samples", CAPTION, panels, notes)


def draw(numbers: Sequence[str], systems: Mapping[str, Mapping[str, Point]], axes: Axes) -> None:
    """Draw a line per system, with an interval at each number of samples, side by side to be told apart."""
    shifts = np.linspace(-0.12, 0.12, len(SYSTEMS))
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    for (system, name), shift, colour, marker in zip(
        SYSTEMS.items(), shifts, style.SERIES, style.MARKERS, strict=False
    ):
        of = systems.get(system, {})
        drawn = [number for number in numbers if number in of]
        if not drawn:
            continue
        places = [numbers.index(number) + shift for number in drawn]
        gains = [100 * of[number].gain for number in drawn]
        axes.plot(places, gains, marker=marker, color=colour, label=name)
        for place, number in zip(places, drawn, strict=True):
            low, high = of[number].low, of[number].high
            if low is not None and high is not None:
                axes.plot([place, place], [100 * low, 100 * high], color=colour, linewidth=0.9)
    axes.set_xticks(range(len(numbers)), numbers)
    axes.set_xlim(-0.5, len(numbers) - 0.5)
    axes.set_xlabel("training samples per label")
    axes.set_ylabel("gain, points")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + HEADROOM * (high - low))
    axes.legend(loc="upper center", ncols=2, handlelength=1.5)
