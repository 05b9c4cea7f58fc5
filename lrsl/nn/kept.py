"""What a training has reached, kept on disk, so that one that is killed goes on from there.

The law: in the training's place stands at most one state that counts, in a folder of its own that appears whole or not
at all; a digest of each file tells whether it is what was written. What is damaged is thrown away, and the training
starts anew. Nothing is executed when a state is loaded. Whoever trains removes the place when what was trained is safe.

Keeping a state costs at most a fiftieth of the time: at the end of an epoch one is kept when fifty times as long as
keeping the last one took has passed since then, and within an epoch after a number of minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrsl import files as disk
from lrsl.fingerprint import sha256

STATE = "state.pt"
MANIFEST = "kept.json"
SHARE = 50  # of the time, that keeping may cost
SECONDS, BYTES_PER_SECOND = 0.05, 200e6  # what keeping costs is guessed by, until the first state has been kept
_UNFINISHED = ".new"


class Kept:
    """The last state of a training in its place on disk.

    Args:
        place: a folder of this training alone, stable for whoever trains the same; made when it is first needed.
        what: what is trained, as in `classifier`, for what is said of it.
        minutes: after how many a state is kept within an epoch.

    Attributes:
        reached: how far the last state has got, as in `the end of epoch 3 of 10`; empty where there is none.
        earlier: seconds that went into the training before this process took it up.
    """

    def __init__(self, place: Path, what: str, *, minutes: float) -> None:
        self.place = place
        self.what = what
        self.minutes = minutes
        self.reached = ""
        self.earlier = 0.0
        self._begun = self._last = time.monotonic()
        self._cost = SECONDS
        self._number = 0
        self._writing: threading.Thread | None = None
        self._complained = False
        self._taken: dict[str, tuple[int, int]] = {}  # when the files of the last state were changed, and their inodes

    def expect(self, size: int) -> None:
        """Say how many bytes a state has, roughly, before the first is kept."""
        self._cost = SECONDS + size / BYTES_PER_SECOND

    def is_due(self, *, whole: bool) -> bool:
        """Tell whether it is time to keep a state.

        Args:
            whole: whether an epoch has just ended.
        """
        if self._writing is not None and self._writing.is_alive():
            return False
        passed = time.monotonic() - self._last
        return passed >= 60 * self.minutes or (whole and passed >= SHARE * self._cost)

    def keep(
        self, state: Mapping[str, Any], reached: str, files: Mapping[str, Path] | None = None, *, spent: float = 0.0
    ) -> None:
        """Keep a state in place of the last one; written beside the training, and a failure to write does not end it.

        Args:
            state: tensors and plain data that nobody changes any more; see `copied`.
            reached: how far the training has got.
            files: more files that belong to it, by name; they are copied before this returns.
            spent: seconds that it took to copy the state.
        """
        self.wait()
        start = time.monotonic() - spent
        self._number += 1
        new = self.place / _UNFINISHED
        about = {"reached": reached, "seconds": round(self.seconds(), 3)}
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            for name, path in (files or {}).items():
                self._take(path, new / name)
        except OSError as error:
            self._complain(error)
            return
        spent = time.monotonic() - start
        self._writing = threading.Thread(
            target=self._write, args=(state, about, new, spent), name="lrsl-kept", daemon=True
        )
        self._writing.start()

    def wait(self) -> None:
        """Wait until what is being written is on disk."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def read(self) -> Path | None:
        """Return the folder of the last state, with the file `STATE`; None where there is none that is whole.

        Says so where there is one that is damaged, and throws it away.
        """
        numbered = [path for path in self.place.glob("*") if path.name.isdecimal()] if self.place.is_dir() else []
        for folder in sorted(numbered, key=lambda path: path.name, reverse=True):
            about = _whole(folder)
            if about is not None:
                self._number, self.reached = int(folder.name), about["reached"]
                self.earlier = about["seconds"]
                self._begun = self._last = time.monotonic()
                return folder
        if numbered:
            print(f"what was kept of the {self.what} is damaged; its training starts anew", flush=True)
        self.discard()
        return None

    def seconds(self) -> float:
        """Return how many seconds have gone into the training."""
        return self.earlier + time.monotonic() - self._begun

    def discard(self) -> None:
        """Remove the place: what was trained is safe, or starts anew."""
        self.wait()
        shutil.rmtree(self.place, ignore_errors=True)
        self.reached = ""

    def _take(self, source: Path, target: Path) -> None:
        """Copy a file, unless the last state has it as it is: no link to it, for others may write into it."""
        now = source.stat()
        before = self.place / f"{self._number - 1:09d}" / source.name
        if self._taken.get(source.name) == (now.st_mtime_ns, now.st_ino) and before.is_file():
            try:
                os.link(before, target)
                return
            except OSError:
                pass
        shutil.copyfile(source, target)
        self._taken[source.name] = (now.st_mtime_ns, now.st_ino)

    def _write(self, state: Mapping[str, Any], about: dict[str, Any], new: Path, spent: float) -> None:
        start = time.monotonic()
        try:
            torch.save(state, new / STATE)
            hashes = {path.name: sha256(path) for path in sorted(new.iterdir())}
            (new / MANIFEST).write_text(json.dumps({**about, "files": hashes}), encoding="utf-8")
            for path in new.iterdir():
                with suppress(OSError):
                    disk.sync(path)
            folder = self.place / f"{self._number:09d}"
            new.rename(folder)
            with suppress(OSError):
                disk.sync(self.place)
            for other in self.place.glob("[0-9]*"):
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)
            self.reached = about["reached"]
        except (OSError, RuntimeError) as error:
            self._complain(error)
        self._last = time.monotonic()
        self._cost = spent + self._last - start

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            reason = " ".join(str(error).split())
            print(f"the state of the {self.what} is not kept ({reason}); the training goes on", flush=True)
        self._complained = True
        self._last = time.monotonic()


def copied(value: Any) -> Any:
    """Return plain data with every tensor in it copied to the CPU's memory."""
    if isinstance(value, Tensor):
        return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    return value


def size_of(value: Any) -> int:
    """Return how many bytes the tensors in plain data have."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(size_of, inner))


def _whole(folder: Path) -> dict[str, Any] | None:
    """Return what stands in a folder's manifest if its files are those that were written."""
    try:
        about: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if STATE not in about["files"] or not isinstance(about["reached"], str):
            return None
        about["seconds"] = float(about["seconds"])
        unchanged = all(sha256(folder / Path(name).name) == digest for name, digest in about["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return about if unchanged else None
