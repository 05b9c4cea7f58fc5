"""Render the paper's Tables 1 to 8, with what our runs came to beside its numbers.

python -m experiments.tables
python -m experiments.tables multirun_outputs --out tables

Reads results.json, config.json and predictions.jsonl below the folders, and for Table 8 the data sets in the folder
that the environment variable LRSL_DATA_DIR names. Prints Markdown, or writes table1.md and table1.tex to table8.md and
table8.tex, and runs.csv, a row per run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.paper import paper
from experiments.runs import collect
from experiments.runs.configurations import configurations
from experiments.tables import accuracy, latex, markdown, semantic_mapping, similarity, sizes
from experiments.tables.evidence import Evidence
from experiments.tables.table import Table
from lrsl.config import place
from lrsl.errors import InputError


def tables(runs: Sequence[collect.Run], data_dir: str | None) -> list[Table]:
    """Return Tables 1 to 8, in order."""
    evidence = Evidence(configurations(runs), paper())
    return [
        accuracy.table1(evidence),
        accuracy.table2(evidence),
        semantic_mapping.table3(evidence),
        similarity.table4(evidence),
        similarity.table5(evidence),
        accuracy.table6(evidence),
        accuracy.table7(evidence),
        sizes.table8(paper(), data_dir),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the tables, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("tables"),
        description="Render the paper's tables, with our results beside its numbers.",
        epilog=f"example: {place.typed('tables')} multirun_outputs --out tables",
    )
    parser.add_argument("folder", nargs="*", type=Path, help=f"default: {', '.join(map(str, collect.left()))}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write Markdown and LaTeX there instead of printing")
    given = parser.parse_args(arguments)
    try:
        runs = collect.collect(collect.given_or_default(given.folder))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    made = tables(runs, os.environ.get("LRSL_DATA_DIR"))
    if given.out is None:
        print("\n".join(map(markdown.render, made)), end="")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    for table in made:
        (given.out / f"table{table.number}.md").write_text(markdown.render(table), encoding="utf-8")
        (given.out / f"table{table.number}.tex").write_text(latex.render(table), encoding="utf-8")
    with (given.out / "runs.csv").open("w", encoding="utf-8", newline="") as file:
        collect.write(runs, file)
    print(f"{len(made)} tables of {len(runs)} runs: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
