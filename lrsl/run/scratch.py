"""Room for what is being made, in a folder that names the process it belongs to.

It lies where what is made will lie, so that a name is all that is changed when it is whole, and so that what a process
leaves that is killed is found, and told from what a running one needs.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lrsl import files
from lrsl.run import locks, owner

FOLDER = ".scratch"
USES = "uses"
ALIVE = "alive"
"""A file that the process holds a lock on while it runs."""
DAY = 86400
UNKNOWN_FOR, UNLOCKED_FOR = DAY, 7 * DAY
"""Seconds without a change after which what another machine has left counts as left: where locks show that nobody holds
it, and where there are none."""


class Scratch:
    """A folder of this process inside another, removed when it is closed, or not needed any more.

    What processes have left there that were killed is removed when one is made.

    Args:
        root: the other.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        for folder in all_in(root):
            if is_left(folder):
                files.remove(folder)
        self.folder = root / FOLDER / f"{owner.mine()}-{secrets.token_hex(4)}"
        while True:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # whoever was the last to leave has removed it
                self.folder.mkdir()
                break
        self._alive: int | None = None
        with suppress(OSError):
            self._alive = locks.held_for_good(self.folder / ALIVE)
        self._end = weakref.finalize(self, _end, self.folder, self._alive, os.getpid())

    def close(self) -> None:
        """Remove it."""
        self._end()

    def new(self) -> Path:
        """Return an empty folder in it."""
        self.folder.mkdir(parents=True, exist_ok=True)  # somebody may have emptied the whole store
        return Path(tempfile.mkdtemp(dir=self.folder))

    def use(self, name: str) -> None:
        """Note that this process reads something, until it closes this."""
        (self.folder / USES).mkdir(parents=True, exist_ok=True)
        (self.folder / USES / name).touch()


@contextmanager
def temporaries_in(folder: Path) -> Iterator[None]:
    """Have libraries put their temporary files, which may be as large as a checkpoint, into a folder."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def all_in(root: Path) -> list[Path]:
    """Return the folders of this kind that are inside another, whoever's they are."""
    base = root / FOLDER
    with suppress(OSError, ValueError):  # a path with a NUL is none
        return sorted(path for path in base.iterdir() if path.is_dir())
    return []


def is_used(root: Path, name: str) -> bool:
    """Tell whether a running process has noted that it reads something."""
    return any(_is_noted(folder / USES / name) and not is_left(folder) for folder in all_in(root))


def _is_noted(note: Path) -> bool:
    try:
        return note.exists()
    except OSError:
        return True  # another user's, who says nothing


def is_left(folder: Path) -> bool:
    """Tell whether the process that a folder belongs to has ended."""
    name = folder.name.rpartition("-")[0]
    if (runs := owner.runs(name)) is True:
        return False
    held = locks.is_held(folder / ALIVE)
    if held:
        return False
    if runs is False:
        return True
    return time.time() - files.changed(folder) > (UNLOCKED_FOR if held is None else UNKNOWN_FOR)


def _end(folder: Path, alive: int | None, process: int) -> None:
    if os.getpid() != process:  # in a fork, which the folder does not belong to
        return
    files.remove(folder)
    if alive is not None:
        with suppress(OSError):
            os.close(alive)
    with suppress(OSError):
        folder.parent.rmdir()
