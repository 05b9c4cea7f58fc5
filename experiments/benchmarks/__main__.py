"""How long things take, as ratios against something run in the same process.

python -m experiments.benchmarks
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from experiments.benchmarks import core


def main() -> None:
    """Measure and print the ratios."""
    table = Table(title="median of the ratio of times (min to max of the repeats)", title_justify="left")
    table.add_column("what")
    for heading in ("ratio", "repeats"):
        table.add_column(heading, justify="right")
    for row in core.measure():
        table.add_row(row.name, f"{row.median:.2f} ({row.least:.2f} to {row.most:.2f})", str(row.repeats))
    Console().print(table)


if __name__ == "__main__":
    main()
