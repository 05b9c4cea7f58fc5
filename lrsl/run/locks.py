"""Locks between processes, which end with the process that holds them.

The law: whoever holds a lock alone may remove its file. So each who gets one looks whether the file it has locked is
still the one of that name, and tries again where it is not.

Where a file system has no locks, a marker names the process that holds one; when that has ended, it is removed.
"""

from __future__ import annotations

import errno
import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lrsl.run import owner

MARKER = ".held"
"""What ends the name of a marker."""
PATIENCE = 0.3
"""Seconds that a lock is waited for before that is said."""
_PAUSE = 0.05
_NONE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}

_fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
_told = False


class HeldError(Exception):
    """Another process holds the lock."""


class _NoLocksError(Exception):
    """The file system has none."""


@contextmanager
def lock(path: Path, *, shared: bool = False, waiting: str | None = None) -> Iterator[None]:
    """Hold a lock while what is inside happens.

    Args:
        path: its file, which is removed in the end where nobody else can be holding it.
        shared: whether others may hold it as well, who want no more than that.
        waiting: what to say when it has to be waited for; None waits for nobody.

    Raises:
        HeldError: another process holds it, and it is not to be waited for.
        OSError: the file cannot be made.
    """
    start, said = time.monotonic(), False
    while (release := _acquired(path, shared)) is None:
        if waiting is None:
            raise HeldError(str(path))
        if not said and time.monotonic() - start > PATIENCE:
            said = True
            print(waiting, flush=True)
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        release()


def held_for_good(path: Path) -> int | None:
    """Hold a lock until the descriptor that is returned is closed, or this process ends; None where that cannot be."""
    try:
        return _locked(path, shared=False)
    except _NoLocksError:
        return None


def is_held(path: Path) -> bool | None:
    """Tell whether a process holds a lock whose file is there; None where there is no file, or no way to tell."""
    if not path.is_file():
        return None
    try:
        descriptor = _locked(path, shared=False, make=False)
    except (OSError, _NoLocksError):
        return None
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def remove(path: Path) -> None:
    """Remove the file of a lock, and the marker of a process that has ended, unless some process holds it."""
    with suppress(OSError, _NoLocksError):
        if (descriptor := _locked(path, shared=False, make=False)) is not None:
            _let_go(path, descriptor)
    _free(path.with_name(f"{path.name}{MARKER}"))


def _acquired(path: Path, shared: bool) -> Callable[[], None] | None:
    """Return what lets go of a lock; None where another process holds it."""
    try:
        descriptor = _locked(path, shared)
    except _NoLocksError:
        return _marked(path)
    except FileNotFoundError:  # its folder was removed
        path.parent.mkdir(parents=True, exist_ok=True)
        return None
    return None if descriptor is None else lambda: _let_go(path, descriptor)


def _locked(path: Path, shared: bool, make: bool = True) -> int | None:
    """Return the descriptor of a lock's file, locked; None where another process holds it."""
    if _fcntl is None:
        raise _NoLocksError
    kind = _fcntl.LOCK_NB | (_fcntl.LOCK_SH if shared else _fcntl.LOCK_EX)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
        except PermissionError:
            descriptor = os.open(path, os.O_RDONLY)  # another user's
        try:
            _fcntl.flock(descriptor, kind)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return None
            if error.errno in _NONE:
                with suppress(OSError):
                    path.unlink()  # nobody can hold it
                raise _NoLocksError from None
            raise
        if _is(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _let_go(path: Path, descriptor: int) -> None:
    with suppress(OSError):
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)  # fails where others share it
        if _is(path, descriptor):
            path.unlink()
    os.close(descriptor)


def _marked(path: Path) -> Callable[[], None] | None:
    marker, name = path.with_name(f"{path.name}{MARKER}"), owner.mine()
    _tell(path.parent)
    try:
        descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        _free(marker)
        return None
    os.write(descriptor, name.encode())
    os.close(descriptor)

    def release() -> None:
        with suppress(OSError):
            marker.unlink()

    return release


def _free(marker: Path) -> None:
    """Remove the marker of a process that has ended; another's that has come in its place is put back."""
    with suppress(OSError):
        name = marker.read_text(encoding="utf-8", errors="replace")
        empty_since = time.time() - marker.stat().st_mtime if not name else 0.0
        if owner.runs(name) is not False and empty_since < 60:
            return
        aside = marker.with_name(f"{marker.name}.{owner.mine()}")
        marker.rename(aside)
        if aside.read_text(encoding="utf-8", errors="replace") != name:
            os.link(aside, marker)
        aside.unlink()


def _tell(folder: Path) -> None:
    global _told  # noqa: PLW0603
    if not _told:
        print(f"{folder}: its file system has no locks; files ending in {MARKER} stand for them", flush=True)
    _told = True
