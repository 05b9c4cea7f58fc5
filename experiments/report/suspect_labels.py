"""The training labels that runs with folds suspect of being wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.report.table import Cell, Column, Table, number, words
from experiments.runs.collect import Run, kept_file
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.predictions import lines_of
from lrsl.run import results, shapes

SUSPECTS_SHOWN = 50
CHARACTERS = 300
"""The most of a text that a row holds."""


def suspects_table(configurations: Sequence[Configuration]) -> Table:
    """Return a row per sample whose label is suspected, first those that most seeds suspect, then the clearest."""
    several = sum(any(map(_lines, configuration.runs.values())) for configuration in configurations) > 1
    columns = [
        Column("sample", numeric=False),
        *([Column("runs", numeric=False)] if several else []),
        Column("text", numeric=False),
        Column("given", numeric=False, about="the label it has"),
        Column("likelier", numeric=False, about="the label that a classifier holds likelier which has not seen it"),
        Column("p given", about="probability of the given label, mean of the seeds that suspect it"),
        Column("p likelier", about="probability of the likelier label, mean of the seeds that suspect it"),
        Column("views", numeric=False, about="which views find the likelier label likelier, too, in the first seed"),
        Column("seeds", about="of how many seeds suspect it"),
    ]
    rows = [row for configuration in configurations for row in _rows(configuration, several)]
    rows.sort(key=lambda row: row[0])
    left_out = len(rows) - SUSPECTS_SHOWN
    notes = (f"{left_out:,} more stand in the {results.SUSPECTS} of the runs.",) if left_out > 0 else ()
    caption = "Training and validation samples whose label is likely wrong."
    return Table("suspects", caption, columns, [row for _, row in rows[:SUSPECTS_SHOWN]], 1 + several, notes)


def _rows(configuration: Configuration, several: bool) -> list[tuple[tuple[float, float, str], list[Cell]]]:
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    of_seeds = 0
    for run in configuration.runs.values():
        of_seeds += "folds" in run.results
        for line in _lines(run):
            found[str(line["id"]), line["given"], line["likelier"]].append(line)
    rows = []
    for (sample, given, likelier), lines in found.items():
        before, after = (mean(line[f"probability_{which}"] for line in lines) for which in ("given", "likelier"))
        text = str(lines[0]["text"])
        cells = [
            words(sample),
            *([words(heading(configuration))] if several else []),
            words(text if len(text) <= CHARACTERS else f"{text[:CHARACTERS].rstrip()} …"),
            *(words(given), words(likelier), number(before, ".3f"), number(after, ".3f")),
            words(", ".join(lines[0]["views"]) or "–"),
            Cell(f"{len(lines)} of {of_seeds}", float(len(lines))),
        ]
        rows.append(((-len(lines) / max(of_seeds, 1), before - after, sample), cells))
    return rows


def _lines(run: Run) -> list[dict[str, Any]]:
    return lines_of(kept_file(run.folder, results.SUSPECTS), shapes.SUSPECT)
