"""How what is written becomes pages: equations as MathML, docstrings with dollars.

MathML is what browsers show by themselves, so neither building nor reading the pages loads anything from a network.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def mathml(latex: str, display: str) -> str:
    """Return an equation as MathML; an unknown command in it is an error."""
    found = convert(latex, display=display)
    left = re.search(r"<m[a-z]+>(\\[^<]+)<", found)
    if left:
        raise ValueError(f"{left[1]} in the equation {latex} became no symbol; write it with a command that does")
    return found


def inline(writer: Any, node: nodes.math) -> None:
    """Write an equation within a line."""
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    """Write an equation on a line of its own, with its number where it has a label."""
    label = node.get("label")  # the paper's number, not the how-many-eth on the page
    number = f'<span class="eqno">({escape(label)})</span>' if label else ""
    writer.body.append(f'<div class="math">{number}{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def docstring(app: Sphinx, what: str, name: str, shown: object, options: object, lines: list[str]) -> None:
    """Turn a docstring's `$$…$$` into the directive that Sphinx knows."""
    text = re.sub(r"^( *)\$\$(.+)\$\$$", r"\1.. math:: \2", "\n".join(lines), flags=re.MULTILINE)
    lines[:] = re.sub(r"\$([^$\n]+)\$", r":math:`\1`", text).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon cuts it into sections
    return {"parallel_read_safe": True, "parallel_write_safe": True}
