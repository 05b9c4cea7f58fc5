"""How the processes of a run watch each other: one that fails ends the run in all of them, with its reason."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lrsl import stopping
from lrsl.errors import InputError, said
from lrsl.nn.processes import FAILED, AnotherFailedError, Together

if TYPE_CHECKING:
    from lrsl.commands.processes import Crew

TICK = 0.25  # seconds between two looks at the other processes
GRACE = 10.0  # seconds in which a process has to come out of what it waits for, once another has failed
COMING = 1800.0  # seconds in which a process that somebody else has started has to come
SILENT = 60.0  # seconds without a sign of life after which such a process is given up


@contextmanager
def watching(group: Together, look: Callable[[Together], None], note: Callable[[str], None]) -> Iterator[None]:
    """Watch the other processes meanwhile; when one has failed and this one does not come out, end this process."""
    over = threading.Event()

    def watch() -> None:
        late, beats = None, 0
        while not over.wait(TICK):
            try:
                beats += 1
                group.told.set(f"beat/{group.rank}", str(beats))
                look(group)
                reason = group.failure()
            except RuntimeError:  # the store has gone, and with it the process that leads
                os._exit(1)
            if reason is None:
                continue
            if late is None:
                late = time.monotonic() + GRACE
                abort()
            elif time.monotonic() > late:
                if group.rank == 0:
                    print(reason, file=sys.stderr, flush=True)
                    note(reason)
                os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look_after(crew: Crew) -> Callable[[Together], None]:
    """Return what looks after the other processes of a run, and lets all know when one is gone before it is done."""
    last: dict[int, tuple[bytes, float]] = {}

    def look(group: Together) -> None:
        for rank in range(1, crew.place.size):
            if group.told.check([f"done/{rank}"]):
                continue
            reason = crew.ended(rank) if crew.started else _silence(group, rank, last)
            if reason is not None:
                group.told.compare_set(FAILED, "", json.dumps([rank, reason]))

    return look


def _silence(group: Together, rank: int, last: dict[int, tuple[bytes, float]]) -> str | None:
    now = time.monotonic()
    beat = group.told.get(f"beat/{rank}") if group.told.check([f"beat/{rank}"]) else b""
    if rank not in last or last[rank][0] != beat:
        last[rank] = (beat, now)
    limit = SILENT if beat else COMING
    return f"it has not been heard of for {limit:.0f} seconds" if now - last[rank][1] > limit else None


def reason_elsewhere(group: Together, error: BaseException, look: Callable[[Together], None]) -> str | None:
    """Return which other process has failed and why, where that is what this error comes of; None if it is not."""
    if not isinstance(error, Exception) or (
        isinstance(error, InputError) and not isinstance(error, AnotherFailedError)
    ):
        return None
    # the others say why they have failed a moment after their connections have ended, which is what is seen first
    late = time.monotonic() + (32 if group.rank == 0 and isinstance(error, RuntimeError) else 4) * TICK
    while time.monotonic() < late:
        try:
            look(group)
            if (reason := group.failure()) is not None:
                return reason
        except RuntimeError:
            return None
        time.sleep(TICK / 5)
    return None


def wait_for_the_rest(group: Together, ranks: range, reason: str) -> None:
    """Wait until processes that somebody else has started have come out of a run that failed; end with them if not."""
    late = time.monotonic() + 2 * GRACE
    while not group.told.check([f"done/{rank}" for rank in ranks]):
        if time.monotonic() > late:
            print(reason, file=sys.stderr, flush=True)
            os._exit(1)
        time.sleep(TICK)


def abort() -> None:
    """End what GPUs wait for; what a CPU waits for ends when the other side is gone."""
    import torch.distributed  # noqa: PLC0415

    dist: Any = torch.distributed
    if dist.is_initialized() and "nccl" in str(dist.get_backend_config()):
        with contextlib.suppress(Exception):
            dist.distributed_c10d._abort_process_group()


def sentence(error: BaseException) -> str:
    """Return in a line why this process has failed, for the others."""
    if isinstance(error, stopping.Stopped):
        return f"it was stopped by {signal.Signals(error.number).name}"
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return said(" ".join(text.split())[:500])
