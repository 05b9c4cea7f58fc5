"""A table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.tables.table import Table


def render(table: Table) -> str:
    """Return the table as Markdown: one table per section, and the notes below as a list."""
    lines = [f"## Table {table.number}: {table.title}", ""]
    for section in table.sections:
        lines += [f"### {section.title}", ""] if section.title else []
        lines += [_line(table.columns), _line(["---", *["---:"] * (len(table.columns) - 1)])]
        lines += [*map(_line, section.rows), ""]
    return "\n".join([*lines, *(f"- {_plain(note)}" for note in table.notes), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
