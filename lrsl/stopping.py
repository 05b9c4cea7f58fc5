"""What becomes of a run that is told to stop, by Ctrl-C (SIGINT) or SIGTERM.

It stops at once, or at the end of the training step it is in, says what is kept and how to go on, and ends with the
status that shells expect: 128 and the number of the signal. Nothing that is kept can be half written, wherever it
stops, for all of it appears whole or not at all.

Importing this loads nothing, so that it holds from the beginning.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

GRACE = 1.0  # seconds that an import may go on for: what an exception does in the middle of one is anybody's guess
PAUSE = 0.05  # between looks at whether it still does
AGAIN = 1.0  # seconds after which a second signal is meant
SWEEP = "sweep"  # the stage of a process whose jobs are in others
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_IMPORTS = "<frozen importlib"
_SECRET = re.compile(
    r"://[^/\s]*@|(?:^|[._?&+])(?:api_?key|key|token|secret|password|passwd|pwd|credentials?|signature)=", re.IGNORECASE
)


class Stopped(BaseException):
    """The process was told to stop.

    Attributes:
        number: of the signal.
        status: what the process ends with.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.status = 128 + number


class _State:
    """What this process was told and is at."""

    number = 0
    since = 0.0
    in_step = False
    stage = ""
    reached: Callable[[], str] | None = None
    tell: Callable[[int], str] | None = None


_state = _State()


@contextmanager
def handled(tell: Callable[[int], str]) -> Iterator[None]:
    """Raise `Stopped` where this thread is when the process is told to stop inside.

    Handlers that others have set are left as they are, as outside the main thread.

    Args:
        tell: gives what to print where the process has to be left without raising anything.
    """
    if threading.current_thread() is not threading.main_thread() or _state.tell is not None:
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if _is_nobodys(handler)]
    _state.__dict__.clear()
    _state.tell = tell
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        _state.__dict__.clear()
        for number in taken:
            signal.signal(number, before[number])


def at(stage: str) -> None:
    """Note which stage the run is at, and stop there if an exception has been lost on the way."""
    _state.stage = stage
    check()


@contextmanager
def training(reached: Callable[[], str]) -> Iterator[None]:
    """Note that a training is under way, which tells how far the state that is kept of it has got."""
    _state.reached = reached
    try:
        yield
        _state.reached = None
    finally:
        _state.in_step = False


def begin_step() -> None:
    """Let a step of a training come to its end before the process stops."""
    check()
    _state.in_step = True


def end_step() -> None:
    """Let the process stop anywhere again."""
    _state.in_step = False


def asked() -> bool:
    """Tell whether the process was told to stop."""
    return _state.number != 0


def check() -> None:
    """Stop if the process was told to."""
    if _state.number:
        raise Stopped(_state.number)


def sentence(number: int, command: str, arguments: Sequence[str]) -> str:
    """Return what is said when a run is stopped: what is kept, and the command that goes on.

    Args:
        number: of the signal.
        command: how the command is typed.
        arguments: what was typed after it; with a secret among them the command is not repeated.
    """
    by = f"stopped by {signal.Signals(number).name}"
    again = "the same command" if any(map(_SECRET.search, arguments)) else f"{command} {shlex.join(arguments)}".strip()
    if not _state.stage:
        return f"{by} before anything was trained; to start again: {again}"
    reached = _state.reached() if _state.reached is not None else ""
    training = f", and its training up to {reached}" if reached else ""
    return f"{by} at the {_state.stage}; what was through before is kept{training}; to go on from there: {again}"


def end(number: int) -> int:
    """Say what is to be said of a run that was stopped, and return the status to end with, or end at once.

    What libraries do at the end of a process takes seconds, and is of use only to one that has had others work for it.
    """
    _state.number = number
    if _state.stage != SWEEP:
        _leave()
    if _state.tell is not None:
        print(_state.tell(number), file=sys.stderr, flush=True)
    return 128 + number


def _is_nobodys(handler: Any) -> bool:
    """Tell whether a handler is Python's own, or the door's of its first moments."""
    return handler in (signal.SIG_DFL, signal.default_int_handler) or (
        getattr(handler, "__module__", "") == "__main__" and getattr(handler, "__name__", "") == "leave"
    )


def _stop(number: int, frame: FrameType | None) -> None:
    if _state.number:
        if time.monotonic() - _state.since > AGAIN:
            _leave()
        return
    _state.number, _state.since = number, time.monotonic()
    _raise(frame)


def _raise(frame: FrameType | None) -> None:
    if _state.in_step:
        return
    if not _imports(frame):
        raise Stopped(_state.number)
    if time.monotonic() - _state.since > GRACE or not hasattr(signal, "setitimer"):
        _leave()
    signal.signal(signal.SIGALRM, _look_again)
    signal.setitimer(signal.ITIMER_REAL, PAUSE)


def _look_again(_: int, frame: FrameType | None) -> None:
    _raise(frame)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTS):
            return True
        frame = frame.f_back
    return False


def _leave() -> NoReturn:
    with suppress(Exception):
        sys.stdout.flush()
    if _state.tell is not None:
        with suppress(Exception):
            print(_state.tell(_state.number), file=sys.stderr, flush=True)
    os._exit(128 + _state.number)
