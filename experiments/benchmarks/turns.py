"""Several things in one process, a little of each in turn.

A machine that others use is never equally fast for two minutes. What takes turns every second or so meets the same
machine. Trainings take turns as they are: each runs in a thread of its own, and only the one whose turn it is does
anything.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from transformers import TrainerCallback

T = TypeVar("T")
Clock = Callable[[], float]
Step = Callable[[], None]


@dataclass
class Timed(Generic[T]):
    """A training, done.

    Attributes:
        value: what it returned.
        seconds: what its turns took, without the first, in which it was set up and warmed up.
    """

    value: T
    seconds: list[float]


def in_turns(trainings: Mapping[str, Callable[[Step], T]], block: int, clock: Clock) -> dict[str, Timed[T]]:
    """Run trainings in turns of `block` steps and return how long the turns took.

    Args:
        trainings: by name; each is called with a function that it calls after each of its steps.
        block: steps of a turn.
        clock: returns seconds.

    Raises:
        Exception: what the first training that failed has raised; once all have ended.
    """
    rotation = _Rotation(list(trainings))
    done: dict[str, Timed[T]] = {}
    errors: list[BaseException] = []

    def work(name: str, training: Callable[[Step], T]) -> None:
        rotation.wait(name)
        turns = _Turns(name, rotation, block, clock)
        try:
            value = training(turns.step)
            done[name] = Timed(value, turns.seconds[1:])
        except BaseException as error:
            errors.append(error)
        finally:
            rotation.pass_on(leave=True)

    threads = [threading.Thread(target=work, args=item, name=item[0]) for item in trainings.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries advise is not what is measured
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return {name: done[name] for name in trainings}


def repeatedly(works: Mapping[str, Callable[[], object]], repeats: int, clock: Clock) -> dict[str, list[float]]:
    """Call each in turn, `repeats` times after a first time that does not count; return the seconds of each call."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    return {name: measured[1:] for name, measured in seconds.items()}


class LightningSteps(pl.Callback):
    """Counts the steps of a Lightning trainer."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Count one."""
        self.step()


class TransformersSteps(TrainerCallback):
    """Counts the steps of transformers' trainer, or of one that is made from it."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count one."""
        self.step()


@dataclass
class _Rotation:
    """Whose turn it is: the first of those that wait."""

    waiting: list[str]
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, name: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.waiting[0] == name)

    def pass_on(self, *, leave: bool = False) -> None:
        with self.changed:
            name = self.waiting.pop(0)
            if not leave:
                self.waiting.append(name)
            self.changed.notify_all()


class _Turns:
    """Counts the steps of one training, times its turns and passes on."""

    def __init__(self, name: str, rotation: _Rotation, block: int, clock: Clock) -> None:
        self.name = name
        self.rotation = rotation
        self.block = block
        self.clock = clock
        self.steps = 0
        self.seconds: list[float] = []
        self.start = clock()

    def step(self) -> None:
        self.steps += 1
        if self.steps % self.block:
            return
        self.seconds.append(self.clock() - self.start)
        state = torch.get_rng_state()  # each draws as if it were alone
        self.rotation.pass_on()
        self.rotation.wait(self.name)
        torch.set_rng_state(state)
        self.start = self.clock()
