"""A table as LaTeX, for a document that uses the packages booktabs and graphicx."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experiments.tables.table import Table

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
_SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
_SPECIAL |= {"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "–": "--", "σ": r"$\sigma$", "²": "$^2$", "→": r"$\to$"}
_SPECIAL |= {"…": r"\ldots{}", "|": r"\textbar{}"}


def render(table: Table) -> str:
    """Return the table as one `table*` that is as wide as the page, and the notes below it in small print."""
    width = len(table.columns)
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        r"\begin{table*}",
        r"\centering",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        _line(table.columns),
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines += [rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(section.title)}}}}} \\"]
        lines += map(_line, section.rows)
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\caption{{{escape(table.title)}.}}", rf"\label{{tab:lrsl{table.number}}}"]
    lines += [r"\par\medskip\raggedright\footnotesize"] if table.notes else []
    lines += [rf"{escape(note)}\par" for note in table.notes]
    return "\n".join([*lines, r"\end{table*}", ""])


def escape(text: str) -> str:
    """Return text as LaTeX shows it."""
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda match: _SPECIAL[match[0]], " ".join(text.split()))


def _line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(map(escape, cells))} \\"
