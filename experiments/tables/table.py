"""A table before it is Markdown or LaTeX, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrsl.metrics import mean_std

NOTHING = "–"


@dataclass(frozen=True)
class Section:
    """The rows of one data set.

    Attributes:
        title: above the rows.
        rows: cells, as many as the table has columns; the first names the row.
    """

    title: str
    rows: list[list[str]]


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        number: the paper's.
        title: what it shows.
        columns: their headings.
        sections: the rows by data set.
        notes: what is to be known of it, and why cells are missing; each a sentence.
    """

    number: int
    title: str
    columns: list[str]
    sections: list[Section]
    notes: list[str]


def percent(fractions: Sequence[float], *, sign: bool = False) -> str:
    """Return the mean of fractions in %, one per seed, with their standard deviation where there are several."""
    if not fractions:
        return NOTHING
    mean, std = mean_std(fractions)
    spread = f" ± {100 * std:.2f}" if len(fractions) > 1 else ""
    return f"{100 * mean:{'+' if sign else ''}.2f}{spread}"


def printed(number: float | None) -> str:
    """Return a number of the paper."""
    return NOTHING if number is None else f"{number:.2f}"


def printed_gain(before: float | None, after: float | None) -> str:
    """Return the difference of two numbers of the paper."""
    return NOTHING if before is None or after is None else f"{after - before:+.2f}"


def probability(p_value: float | None) -> str:
    """Return a p-value."""
    if p_value is None:
        return NOTHING
    return "<0.001" if p_value < 0.0005 else f"{p_value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of an interval of fractions, in %."""
    return NOTHING if low is None or high is None else f"{100 * low:+.2f} to {100 * high:+.2f}"
