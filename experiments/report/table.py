"""A table of the report: cells with what is shown and what they are sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrsl.metrics import mean_std


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what is shown.
        value: what it is sorted by where that is a number; None where there is none.
        spread: what stands behind it, paler.
        tone: `up` or `down` where a change is good or bad.
    """

    text: str
    value: float | None = None
    spread: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: its heading.
        numeric: whether it holds numbers.
        about: what the heading means, where it does not say so itself.
    """

    heading: str
    numeric: bool = True
    about: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: unique in the page.
        caption: what it holds.
        columns: its columns; the first `leading` of them name the row.
        rows: its cells.
        leading: how many columns name the row.
        notes: sentences below it.
    """

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    leading: int = 2
    notes: tuple[str, ...] = ()


NOTHING = Cell("–")


def words(text: object) -> Cell:
    """Return a cell of text."""
    return Cell(str(text))


def number(value: float | None, form: str = ",") -> Cell:
    """Return a cell of one number."""
    return NOTHING if value is None else Cell(format(value, form), float(value))


def percent(values: Sequence[float | None], *, signed: bool = False) -> Cell:
    """Return the mean of fractions in percent, and with several of them ± their standard deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    mean, std = mean_std(known)
    spread = f"± {100 * std:.2f}" if len(known) > 1 else ""
    if not signed:
        return Cell(f"{100 * mean:.2f}", mean, spread)
    tone = {"+": "up", "−": "down"}.get(points(mean)[0], "")
    return Cell(points(mean), mean, spread, tone)


def points(value: float) -> str:
    """Return a difference of fractions in points, with its sign."""
    text = f"{100 * value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


def probability(value: float | None) -> Cell:
    """Return a cell of a p-value."""
    if value is None:
        return NOTHING
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", value)
