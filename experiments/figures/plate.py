"""A figure of the paper: panels, set on one page for print or shown one by one on a screen."""

from __future__ import annotations

import io
import logging
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments.figures import style

logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # which fonts have no bold is no news

PAGE_WIDTH = 6.3  # inches: the text of an A4 page
PRINTED = ("svg", "png")

_VARIABLES = {
    style.BLUE: "--blue",
    style.VERMILION: "--vermilion",
    style.GREEN: "--green",
    style.ORANGE: "--orange",
    style.PURPLE: "--purple",
    style.SKY: "--sky",
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.HAIRLINE: "--line",
}
"""Colours → the CSS variables that stand for them in a page, which may be light or dark."""


@dataclass(frozen=True)
class Panel:
    """A part of a figure that can be read by itself.

    Attributes:
        title: what it is about: a data set, and a model where there are several.
        draw: draws it; everything but the title.
        height: in print, in inches; None for the height that the plate gives its panels.
    """

    title: str
    draw: Callable[[Axes], None]
    height: float | None = None


@dataclass(frozen=True)
class Plate:
    """A figure.

    Attributes:
        name: the name of its files.
        title: what it shows, in a few words.
        caption: how to read it.
        panels: its parts; none where no run has what it takes.
        notes: sentences below it: which runs are shown, where it is not all, and what runs lack.
        columns: how many panels stand side by side in print.
        height: of a panel in print, in inches.
        screen: width and height of a panel on a screen, in inches of print.
    """

    name: str
    title: str
    caption: str
    panels: list[Panel]
    notes: list[str] = field(default_factory=list)
    columns: int = 2
    height: float = 2.2
    screen: tuple[float, float] = (3.5, 2.4)


def printed(plate: Plate) -> Figure:
    """Return a plate with panels as one figure of the width of a page, its notes below it."""
    columns = min(plate.columns, len(plate.panels))
    rows = [plate.panels[start : start + columns] for start in range(0, len(plate.panels), columns)]
    heights = [max(panel.height or plate.height for panel in row) for row in rows]
    width = PAGE_WIDTH * max(columns, plate.columns / 2) / plate.columns
    note = textwrap.fill(" ".join(plate.notes), int(20 * width))
    with mpl.rc_context(style.settings()):
        figure = Figure(figsize=(width, sum(heights) + 0.14 * len(note.splitlines())))
        grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        places = list(grid.flat)
        for place in places[len(plate.panels) :]:
            place.remove()
        for place, panel in zip(places, plate.panels, strict=False):
            place.set_title(panel.title)
            panel.draw(place)
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=6.5, color=style.MUTED)
    return figure


def save(plate: Plate, folder: Path, forms: Sequence[str] = PRINTED) -> list[Path]:
    """Write a plate with panels in some forms, all of `PRINTED` by default, and return their paths.

    Text in the SVG is drawn as shapes, so that it looks the same where the fonts are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = printed(plate)
    paths = [folder / f"{plate.name}.{form}" for form in forms]
    for path in paths:
        # without a date the same figure gives the same file
        _render(figure, path, "path", metadata={"Date": None} if path.suffix == ".svg" else {})
    return paths


def inline(panel: Panel, name: str, size: tuple[float, float]) -> str:
    """Return a panel as an SVG element to stand in a page, in the page's colours and fonts.

    Args:
        panel: the panel, its title left to the page.
        name: unique in the page; the ids in the SVG begin with it.
        size: its width and height in inches, for the proportion of type to drawing.
    """
    with mpl.rc_context(style.settings()):
        figure = Figure(figsize=size)
        panel.draw(figure.subplots())
    file = io.StringIO()
    _render(figure, file, "none", transparent=True, metadata={"Date": None})
    return _for_page(file.getvalue(), panel.title, name)


def chinese_missing(plates: list[Plate]) -> bool:
    """Tell whether any of the plates has Chinese, but no font installed does."""
    if style.chinese_fonts():
        return False
    figures = [printed(plate) for plate in plates if plate.panels]
    return any(style.has_chinese(text.get_text() for text in figure.findobj(Text)) for figure in figures)


def _render(figure: Figure, file: Path | io.StringIO, fonttype: str, **options: Any) -> None:
    form = file.suffix[1:] if isinstance(file, Path) else "svg"
    with mpl.rc_context({**style.settings(), "svg.fonttype": fonttype}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said once, in a sentence of our own
        figure.savefig(file, format=form, **options)


def _for_page(svg: str, title: str, name: str) -> str:
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", element, flags=re.DOTALL)
    element = re.sub(r'^(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'^(<svg[^>]*?) height="[^"]*"', r"\1", element))
    element = element.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', element))
    element = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", element)
    element = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", element)
    # a hundredth of a point is finer than any screen, and half the size of the file
    element = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), element)
    for colour, variable in _VARIABLES.items():
        element = element.replace(colour, f"var({variable})")
    return element.strip()
