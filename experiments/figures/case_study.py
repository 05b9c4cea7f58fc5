"""Figure 6: the most telling hard samples, with their best labels before and after reranking."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from experiments.figures import style
from experiments.figures.plate import Panel, Plate
from experiments.runs.configurations import Configuration
from experiments.runs.telling import BROKEN, MENDED, TellingSample, telling

CAPTION = (
    "For each data set the most telling hard sample that reranking mended, and the most telling one that it broke, "
    "where there is one: changed in the most seeds, then most clearly decided. ✓ marks the true label."
)
COLUMNS = 112
"""Narrow characters in a line of text."""
LINES = 7
"""Lines of text shown of a sample."""
WIDE = 1.75
"""The width of a Chinese character in narrow ones."""
SIZE, LEADING = 7.2, 10.5
"""Type and the distance of its lines in points."""


def plate(configurations: Sequence[Configuration]) -> Plate:
    """Return the figure, one panel below the other."""
    samples = telling(configurations)
    panels, notes = [], []
    for dataset in dict.fromkeys(configuration.dataset for configuration in configurations if configuration.runs):
        chosen = [_first(samples, dataset, kind) for kind in (MENDED, BROKEN)]
        panels += [
            Panel(_title(sample), partial(draw, sample), _height(sample)) for sample in chosen if sample is not None
        ]
        if chosen == [None, None]:
            notes.append(f"{dataset}: no run kept predictions of which reranking mended or broke any.")
    return Plate("figure6-case-study", "Case study", CAPTION, panels, notes, columns=1)


def wrap(text: str, columns: int = COLUMNS, lines: int = LINES) -> list[str]:
    """Return text in lines of at most so many columns, broken at spaces or, in Chinese, anywhere.

    What does not fit in the lines is left out, which an ellipsis says.
    """
    wrapped, line = [], ""
    for part in re.findall(
        r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]+|\s+", text
    ):
        for piece in _short(" " if part.isspace() else part, columns):
            if line and _width(line + piece) > columns:
                wrapped.append(line.rstrip())
                line = ""
            line += piece if line or not piece.isspace() else ""
    wrapped.append(line.rstrip())
    return wrapped if len(wrapped) <= lines else [*wrapped[: lines - 1], f"{wrapped[lines - 1]} …"]


def draw(sample: TellingSample, axes: Axes) -> None:
    """Draw a sample's text, and below it two columns of labels with their scores."""
    axes.set_axis_off()
    lines = _text(sample)
    for number, line in enumerate(lines):
        _write(axes, line, 0.0, number)
    for left, heading, key in ((0.0, "logits before", "top_k_before"), (0.5, "scores after", "top_k_after")):
        _write(axes, heading, left, len(lines) + 0.5, color=style.MUTED)
        for place, (label, score) in enumerate(sample.line[key]):
            true = label == sample.line["gold"]
            colour = style.GREEN if true else style.VERMILION if place == 0 else style.INK
            row = len(lines) + 1.6 + 1.1 * place
            _write(axes, "✓" if true else "✗" if place == 0 else "", left, row, color=colour)
            _write(axes, wrap(label, 38, 1)[0], left + 0.02, row, color=colour)
            _write(axes, f"{score:.3g}", left + 0.43, row, color=colour, ha="right")


def _text(sample: TellingSample) -> list[str]:
    return wrap(sample.line["text"] or f"(sample {sample.line['id']}; the recorded run has no texts)")


def _write(axes: Axes, text: str, left: float, row: float, **looks: Any) -> None:
    """Write text at a fraction of the width and in a row from the top, whatever the panel's height."""
    axes.annotate(
        text,
        (left, 1),
        xycoords="axes fraction",
        xytext=(0, -LEADING * (row + 1)),
        textcoords="offset points",
        fontsize=SIZE,
        annotation_clip=False,
        **looks,
    )


def _height(sample: TellingSample) -> float:
    """Return the inches a sample takes: its title, its text, its labels, and a gap below."""
    rows = len(_text(sample)) + 1.6 + 1.1 * len(sample.line["top_k_before"])
    return (2.8 + rows) * LEADING / 72


def _first(samples: Sequence[TellingSample], dataset: str, kind: str) -> TellingSample | None:
    return next((sample for sample in samples if (sample.dataset, sample.kind) == (dataset, kind)), None)


def _title(sample: TellingSample) -> str:
    return (
        f"{sample.configuration}: {sample.kind} in {sample.seeds} of {sample.of_seeds} seeds (seed {sample.seed} shown)"
    )


def _width(text: str) -> float:
    return sum(WIDE if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _short(word: str, columns: int) -> list[str]:
    """Return a word in pieces none of which is longer than a line."""
    return [word[start : start + columns] for start in range(0, len(word), columns)]
