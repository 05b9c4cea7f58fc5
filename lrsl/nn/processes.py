"""The processes that compute one run together: how many there are, which this one is, and how they keep in step.

All of them go through the same stages. The first one leads: it alone writes, logs, downloads and prints, and what has
to be decided once it decides and tells the others. What is told goes through a store of keys and texts, not through the
process group, so that a process can wait for hours, and still learns within a second that another one has failed.

Without several processes everything here is as if there were one, which leads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lrsl.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

FAILED = "failed"
SHORTEST, LONGEST = 0.005, 0.2  # seconds between two looks at what is told


class AnotherFailedError(InputError):
    """Another of the processes that compute this run together has failed; says which and why in one sentence."""


class Told(Protocol):
    """What processes tell each other, texts by key; torch's stores are such."""

    def check(self, keys: list[str]) -> bool:
        """Tell whether there is a text under each key."""

    def get(self, key: str) -> bytes:
        """Return the text under a key."""

    def set(self, key: str, value: str) -> None:
        """Put a text under a key."""

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        """Put a text under a key that has none yet, where `expected` is empty."""


@dataclass
class Together:
    """One process among those that compute a run together.

    Attributes:
        told: what they tell each other of this run.
        rank: which of them this is, 0 for the one that leads.
        size: how many there are.
        local_rank: which of those on this machine this is.
        local_size: how many there are on each machine.
    """

    told: Told
    rank: int
    size: int
    local_rank: int
    local_size: int
    said: int = 0
    met: int = 0

    def tell(self, message: Any) -> None:
        """Tell the others plain data, which they hear in the same order."""
        self.told.set(f"told/{self.said}", json.dumps(message))
        self.said += 1

    def hear(self) -> Any:
        """Wait for what the leading process tells next, and return it.

        Raises:
            AnotherFailedError: another process has failed meanwhile.
        """
        key = f"told/{self.said}"
        self.wait_for([key])
        self.said += 1
        return json.loads(self.told.get(key))

    def meet(self) -> None:
        """Wait until all processes have come here.

        Raises:
            AnotherFailedError: another process has failed meanwhile.
        """
        self.told.set(f"met/{self.met}/{self.rank}", "")
        self.wait_for([f"met/{self.met}/{rank}" for rank in range(self.size)])
        self.met += 1

    def wait_for(self, keys: Sequence[str]) -> None:
        """Wait until there is something under each key.

        Raises:
            AnotherFailedError: another process has failed meanwhile.
        """
        pause = SHORTEST
        while not self.told.check(list(keys)):
            self.raise_if_another_failed()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST)

    def fail(self, reason: str) -> None:
        """Let the others know why this process has failed; the first one to say so is heard."""
        self.told.compare_set(FAILED, "", json.dumps([self.rank, reason]))

    def failure(self) -> str | None:
        """Return in one sentence which other process has failed and why; None while none has."""
        if not self.told.check([FAILED]):
            return None
        rank, reason = json.loads(self.told.get(FAILED))
        return None if rank == self.rank else sentence(rank, self.size, reason)

    def raise_if_another_failed(self) -> None:
        """Raise an `AnotherFailedError` where another process has failed."""
        if (reason := self.failure()) is not None:
            raise AnotherFailedError(reason)


def sentence(rank: int, size: int, reason: str) -> str:
    """Say which of so many processes has failed, the first being 1, and why."""
    return f"process {rank + 1} of {size} failed: {reason}"


_together: Together | None = None
_alone = 0


@contextmanager
def joined(together: Together) -> Iterator[None]:
    """Let what happens inside be computed together with other processes."""
    global _together  # noqa: PLW0603  (a process computes one run at a time)
    before, _together = _together, together
    try:
        yield
    finally:
        _together = before


@contextmanager
def alone() -> Iterator[None]:
    """Let what happens inside be computed by this process without the others, as if there were none."""
    global _alone  # noqa: PLW0603
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def together() -> Together | None:
    """Return this process among those that compute what is being computed; None where it is the only one."""
    return None if _alone else _together


def are_several() -> bool:
    """Tell whether this process belongs to several, also while it computes something alone."""
    return _together is not None


def count() -> tuple[int, int]:
    """Return how many processes compute what is being computed, and which this is, from 0.

    A process group that somebody else has made, such as the trainer of a program of the user's own, counts too.
    """
    if _alone:
        return 1, 0
    if _together is not None:
        return _together.size, _together.rank
    import torch.distributed as dist  # noqa: PLC0415

    return (dist.get_world_size(), dist.get_rank()) if dist.is_available() and dist.is_initialized() else (1, 0)


def leads() -> bool:
    """Tell whether this process writes, logs and prints."""
    return _together is None or _together.rank == 0


def agreed(decide: Callable[[], T]) -> T:
    """Return what the leading process decides, plain data, in all processes."""
    group = together()
    if group is None:
        return decide()
    if group.rank:
        heard: T = group.hear()
        return heard
    with alone():
        decided = decide()
    group.tell(decided)
    return decided


@contextmanager
def first() -> Iterator[None]:
    """Let the leading process do what happens inside before the others do it, such as a download."""
    group = together()
    if group is not None and group.rank:
        group.hear()
    if group is not None and group.rank == 0:
        with alone():
            yield
        group.tell(None)
    else:
        yield


def most(number: int) -> int:
    """Return the largest of the numbers that the processes have."""
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    if count()[0] == 1:
        return number
    largest = torch.tensor(number)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


def gathered(values: Tensor) -> Tensor:
    """Return the rows `(n, …)` of all processes, those of the first one first, on the CPU.

    Args:
        values: this process's rows, `(rows, …)`; how many they are may differ.
    """
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    size, _ = count()
    values = values.detach().cpu().contiguous()
    if size == 1:
        return values
    rows = torch.zeros(size, dtype=torch.int64).split(1)
    dist.all_gather(list(rows), torch.tensor([len(values)]))
    padded = values.new_zeros((int(max(rows)), *values.shape[1:]))
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, rows, strict=True)])
