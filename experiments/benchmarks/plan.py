"""How much is measured, and what a section of the benchmarks comes to."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SEED = 0


def cpu_seconds() -> float:
    """Return the processor time of this process, all its threads, and the processes it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": cpu_seconds}


@dataclass(frozen=True)
class Plan:
    """How much is measured; None stands for all there is.

    Attributes:
        rows: rows of logits for the core.
        texts: training texts of the embedding.
        questions: training questions of Banking-77 for the classifier.
        calls: training calls of telecom34 for the classifier.
        held_out: rows of each of validation and test.
        answers: rows of test that are answered with reranking.
        singles: texts that are embedded one by one.
        epochs: epochs of each training; None for those of the recipe.
        block: steps of a training before it is another's turn.
        repeats: turns of what is no training.
        clock: `wall` or, for a busy machine, `cpu`.
        profile: whether to look into our training steps.
    """

    rows: int = 1_000_000
    texts: int | None = 1_280
    questions: int | None = 2_000
    calls: int | None = 400
    held_out: int | None = 500
    answers: int | None = 1_500
    singles: int = 200
    epochs: int | None = 2
    block: int = 4
    repeats: int = 5
    clock: str = "wall"
    profile: bool = False

    @property
    def now(self) -> Callable[[], float]:
        """Returns seconds."""
        return CLOCKS[self.clock]


@dataclass(frozen=True)
class Figure:
    """One line of the results.

    Attributes:
        name: what is compared with what.
        values: one per turn; empty for what was not measured.
        at_least: what the median has to reach.
        at_most: what the median must not exceed.
        unit: of the values; `×` for a ratio.
        note: what goes with it, such as the accuracies; or why it was not measured.
    """

    name: str
    values: Sequence[float] = ()
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"
    note: str = ""

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none or nothing was measured."""
        if not self.values or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )


@dataclass(frozen=True)
class Table:
    """A table that stands below the figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Curve:
    """How a cost grows with one thing.

    Attributes:
        cost: what is paid.
        axis: what grows.
        sizes: its values.
        ratios: per value, the cost over that of the first, one per turn.
    """

    cost: str
    axis: str
    sizes: Sequence[int]
    ratios: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Section:
    """What a section comes to.

    Attributes:
        about: how it is measured, in a paragraph.
        figures: its lines.
        tables: what stands below them.
        curves: what is drawn.
    """

    about: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = field(default_factory=list)
    curves: Sequence[Curve] = field(default_factory=list)


def quotients(times: Sequence[float], of: Sequence[float]) -> list[float]:
    """Return what each turn of one thing took over what the turn of another beside it took."""
    return [taken / other for taken, other in zip(times, of, strict=False)]
