"""What detection and reranking cost, as a multiple of one softmax over the same logits.

python -m experiments.benchmarks
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from lrsl import core

CLASSES = 77
REPEATS = 7


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(work: Callable[[], object], peer: Callable[[], object]) -> list[float]:
    """Return the time of `work` over that of `peer`, in turn, after a warm-up of both."""
    seconds(work)
    seconds(peer)
    return [seconds(work) / seconds(peer) for _ in range(REPEATS)]


def main() -> None:
    """Print the ratios."""
    table = Table(
        title=f"time over one softmax, {CLASSES} classes, median (min to max) of {REPEATS}", title_justify="left"
    )
    for heading in ("rows", "is_hard", "rerank of all rows"):
        table.add_column(heading, justify="right")
    for rows in (10_000, 40_000, 160_000):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(rows, CLASSES, generator=generator)
        similarity = torch.rand(rows, CLASSES, generator=generator)
        cells = []
        for work in (lambda: core.is_hard(logits, 0.1, 3), lambda: core.rerank(logits, similarity)):  # noqa: B023
            measured = ratios(work, lambda: logits.softmax(-1))  # noqa: B023
            cells.append(f"{statistics.median(measured):.1f} ({min(measured):.1f} to {max(measured):.1f})")
        table.add_row(f"{rows:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
