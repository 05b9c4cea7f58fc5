"""How the figures look: colours every reader can tell apart, sizes for print, and fonts that have Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from matplotlib import font_manager

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/, without the yellow, which is too pale for lines on paper
BLUE = "#0072b2"
VERMILION = "#d55e00"
ORANGE = "#e69f00"
GREEN = "#009e73"
SKY = "#56b4e9"
PURPLE = "#cc79a7"
INK = "#1a1a1a"
MUTED = "#666666"
HAIRLINE = "#d0d0d0"

SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SEQUENTIAL = "cividis"
"""The colour map of heat maps: as light as it is high, and the same to every reader."""

CHINESE = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Noto Sans CJK JP",  # the first face of the file that holds SC as well, and all matplotlib sees of it
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Microsoft YaHei",
    "PingFang SC",
    "Heiti SC",
    "Arial Unicode MS",
)
"""Fonts with Chinese, best first."""

NO_CHINESE = (
    "No font with Chinese was found, so Chinese shows as empty boxes; install one, such as the package fonts-noto-cjk."
)

_CHINESE_FILE = re.compile("cjk|wqy|notosanssc|sourcehan|simhei|msyh|pingfang|heiti|arial ?unicode", re.IGNORECASE)
_CHINESE_TEXT = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def has_chinese(texts: Iterable[str]) -> bool:
    """Tell whether any of the texts holds a Chinese character."""
    return any(_CHINESE_TEXT.search(text) for text in texts)


@cache
def chinese_fonts() -> tuple[str, ...]:
    """Return the installed fonts with Chinese, best first."""
    known = set(font_manager.get_font_names())
    if not known.intersection(CHINESE):
        # matplotlib keeps a list of fonts from when it first ran; one may have been installed since
        for path in font_manager.findSystemFonts():
            if _CHINESE_FILE.search(path):
                font_manager.fontManager.addfont(path)
        known = set(font_manager.get_font_names())
    return tuple(font for font in CHINESE if font in known)


def settings() -> dict[Any, Any]:
    """Return matplotlib's settings for every figure."""
    return {
        "font.family": ["DejaVu Sans", *chinese_fonts()],
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": HAIRLINE,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.4,
        "lines.markersize": 4,
        "text.parse_math": False,  # a $ in a label is a $
        "axes.unicode_minus": False,
        "svg.hashsalt": "lrsl",  # the same figure gives the same file
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
    }
