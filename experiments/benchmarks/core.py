"""What variance, hardness and reranking cost, as a multiple of one softmax over the same logits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from lrsl import core

ROWS = 1_000_000
CLASSES = 151
THREADS = 2
REPEATS = 9
K = 3
COMMAND = "python -m experiments.benchmarks"


class Row(NamedTuple):
    """One line of the results: a ratio of times, its median and range over the repeats."""

    name: str
    median: float
    least: float
    most: float
    repeats: int
    command: str


def measure(rows: int = ROWS, repeats: int = REPEATS) -> list[Row]:
    """Return the time of each part and of all over that of one softmax, and of all rows over that of a tenth of them.

    Every row is hard, and every one is reranked. Each call is followed by a softmax of its own, so that what else the
    machine does falls on both.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, CLASSES, generator=generator)
    similarity = torch.rand(rows, CLASSES, generator=generator)
    tenth = slice(rows // 10)

    def softmax() -> Tensor:
        return torch.softmax(logits, -1)

    def separately(part: slice = slice(None)) -> Tensor:
        core.topk_variance(logits[part], K)
        core.is_hard(logits[part], torch.inf, K)
        return core.rerank(logits[part], similarity[part])

    def variance_once() -> tuple[Tensor, Tensor]:
        return core.topk_variance(logits, K) < torch.inf, core.rerank(logits, similarity)

    size = f"{rows:,} x {CLASSES}"
    with threads(THREADS):
        return [
            ratio(f"topk_variance, {size}, over softmax", lambda: core.topk_variance(logits, K), softmax, repeats),
            ratio(f"is_hard, {size}, over softmax", lambda: core.is_hard(logits, torch.inf, K), softmax, repeats),
            ratio(f"rerank, {size}, over softmax", lambda: core.rerank(logits, similarity), softmax, repeats),
            ratio(
                f"rerank with power 2, {size}, over softmax",
                lambda: core.rerank(logits, similarity, 2.0),
                softmax,
                repeats,
            ),
            ratio(f"all three, {size}, over softmax", separately, softmax, repeats),
            ratio(f"all three, variance computed once, {size}, over softmax", variance_once, softmax, repeats),
            ratio(f"all three, {size}, over a tenth of the rows", separately, lambda: separately(tenth), repeats),
            ratio(f"torch.topk alone, {size}, over softmax", lambda: logits.topk(K), softmax, repeats),
        ]


def ratio(name: str, work: Callable[[], object], peer: Callable[[], object], repeats: int) -> Row:
    """Return how many times as long as `peer` `work` takes, measured in turn after a warm-up of both."""
    seconds(work)
    seconds(peer)
    ratios = [seconds(work) / seconds(peer) for _ in range(repeats)]
    return Row(name, statistics.median(ratios), min(ratios), max(ratios), repeats, COMMAND)


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with that many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
