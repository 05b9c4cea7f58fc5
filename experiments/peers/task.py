"""What a peer is given, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lrsl.config.schema import ModelConfig, TrainerConfig
from lrsl.data.corpus import Split

T = TypeVar("T")


class AbsentError(Exception):
    """A peer cannot be measured here: one sentence that says why."""


@dataclass(frozen=True)
class Task:
    """The rows of a run without the labels of its test, and what the run starts from.

    Attributes:
        train: what is learnt from.
        val: what chooses.
        texts: those of test.
        names: what the classes are called; a label is its position here.
        label_texts: the readable text of each class.
        encoder: folder or hub id of the encoder.
        recipe: how a run trains its classifier; other trainings of the encoder take epochs, batch and rate from it.
        seed: of everything random.
        hardware: what may be computed on.
        overrides: what makes a run of these rows, as typed.
    """

    train: Split
    val: Split
    texts: list[str]
    names: list[str]
    label_texts: list[str]
    encoder: str
    recipe: ModelConfig
    seed: int
    hardware: TrainerConfig
    overrides: tuple[str, ...]

    @property
    def train_and_val(self) -> tuple[list[str], list[int]]:
        """Texts and labels of both, for what trains anew on all rows once val has chosen."""
        return [*self.train.texts, *self.val.texts], [*self.train.labels, *self.val.labels]


@dataclass(frozen=True)
class Answers:
    """What a system answers on test, and how long that took.

    Attributes:
        labels: a label per text.
        train_seconds: from texts to a model that is ready to answer; loading the encoder counts, imports do not.
        predict_seconds: for all texts of test, given at once.
        versions: of packages, where they are not those of this environment.
    """

    labels: Sequence[int]
    train_seconds: float
    predict_seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)


Peer = Callable[[Task], Mapping[str, Answers]]


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what a function returns, and the seconds it took."""
    start = time.perf_counter()
    value = work()
    return value, time.perf_counter() - start


def best(candidates: Sequence[tuple[float, T]]) -> T:
    """Return the candidate with the highest figure; of equal ones the first."""
    return max(candidates, key=lambda candidate: candidate[0])[1]
