"""The store of what stages made, addressed by what it was made of: nothing is computed twice.

A stage's result is a folder. Its key is a hash of everything that could change it; whoever asks for the same again gets
the same files. `python -m lrsl.store` lists the store, `python -m lrsl.store prune` makes room.

The law of who may touch what: a result is made, replaced and removed by a process that holds the lock of its key. What
a run was given it notes as used, while it shares that lock, until it is through; what a running process uses is not
removed. What is being made lies in a folder of its process, see `scratch`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lrsl import files
from lrsl.masking import masked, without_credentials
from lrsl.run import locks, scratch
from lrsl.run.scratch import Scratch, temporaries_in

FOLDER = "cache"
VARIABLE = "LRSL_CACHE_DIR"
MANIFEST = "stage.json"
STAGES = ("classifier", "logits", "embedding", "similarity", "views", "labels", "tokens")
LOCK = ".lock"
TRAINING = ".training"
"""What ends the name of a folder in which a training that is not through keeps what it has reached."""

_checked: dict[Path, tuple[int, int, int]] = {}  # files whose content this process found right, as they were then


def key_of(made_of: Mapping[str, Any]) -> str:
    """Return the sixteen hexadecimal digits that stand for what a result is made of, which is plain data."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """Folders by stage and key, each made once, however many processes ask for it at a time.

    A folder appears whole or not at all, and is looked through before it is given out: one whose files are not those
    that were written is made again. What is given out stays while the store is open.

    A store that cannot be written to gives what it has; what it has not is made for this run alone, which is said once.

    Args:
        folder: where it is; made when it is first needed.
        again: make everything again that is asked for, and keep that instead.
        spare: where to make what the store cannot be given; None is beside the store.
    """

    def __init__(self, folder: Path, *, again: bool = False, spare: Path | None = None) -> None:
        self.folder = folder
        self.again = again
        self.spare = spare or folder.absolute().parent
        self._made: set[Path] = set()
        self._own: Scratch | None = None
        self._beside: Scratch | None = None
        self._instead: dict[Path, Path] = {}
        self._refused = ""
        self._said = False

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was given out."""
        for room in (self._own, self._beside):
            if room is not None:
                room.close()
        self._own = self._beside = None
        self._instead.clear()

    def get(self, stage: str, made_of: Mapping[str, Any], make: Callable[[Path], None], *, about: str = "") -> Path:
        """Return the folder of a stage's result.

        Args:
            stage: the kind of result, such as `classifier`.
            made_of: all that could change it, as plain data.
            make: fills an empty folder; called when there is no such result yet.
            about: what a list of the store says of it.
        """
        place = self.place(stage, made_of)
        manifest = masked({"stage": stage, "about": without_credentials(about), "made_of": made_of})
        if place in self._instead:
            return self._instead[place]
        for shared in (True, False):
            with self._locked(place, shared) as locked:
                if self._is_there(place):
                    return place
                if locked is None:
                    break
                if not shared:  # no other process has made it meanwhile
                    return self._make(place, manifest, make, locked)
        self._do_without()
        if self._beside is None:
            self.spare.mkdir(parents=True, exist_ok=True)
            self._beside = Scratch(self.spare)
        self._instead[place] = _filled(self._beside, place.name, manifest, make)
        return self._instead[place]

    def place(self, stage: str, made_of: Mapping[str, Any]) -> Path:
        """Return where a stage's result is, or would be."""
        return self.folder / stage / key_of(made_of)

    @contextmanager
    def _locked(self, place: Path, shared: bool) -> Iterator[Scratch | None]:
        """Note a result as used and hold its lock; give room for making it, or None where nothing can be written."""
        room: Scratch | None = None
        with ExitStack() as held:
            if not self._refused:
                try:
                    room = self._own = self._own or Scratch(self.folder)
                    room.use(_used_as(place))
                    place.parent.mkdir(parents=True, exist_ok=True)
                    waiting = f"waiting for another run, which makes the same {place.parent.name}"
                    held.enter_context(locks.lock(lock_of(place), shared=shared, waiting=waiting))
                except OSError as error:
                    room, self._refused = None, os.strerror(error.errno) if error.errno else str(error)
            yield room

    def _do_without(self) -> None:
        if not self._said:
            print(
                f"the store {self.folder} cannot be written to ({self._refused}); "
                "what this run makes is kept for itself only",
                flush=True,
            )
        self._said = True

    def _is_there(self, place: Path) -> bool:
        if self.again and place not in self._made:
            return False
        if not is_whole(place):
            return False
        with suppress(OSError):
            os.utime(place / MANIFEST)  # so that pruning knows what is in use
        return True

    def _make(self, place: Path, manifest: dict[str, Any], make: Callable[[Path], None], room: Scratch) -> Path:
        folder = _filled(room, place.name, manifest, make)
        try:
            if os.path.lexists(place):
                with suppress(OSError):
                    place.chmod(0o700)  # else it cannot be moved
                    place.rename(room.new() / place.name)
                files.remove(place)
            folder.rename(place)
            files.sync(place.parent)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._refused = self._refused or os.strerror(error.errno or 0)
            self._do_without()
            self._instead[place] = folder
            return folder
        files.remove(folder.parent)
        self._made.add(place)
        return place


def _filled(room: Scratch, name: str, manifest: dict[str, Any], make: Callable[[Path], None]) -> Path:
    """Return a folder of some name that is whole, in a room."""
    start = time.perf_counter()
    around = room.new()
    folder = around / name
    folder.mkdir()
    try:
        with temporaries_in(around):
            make(folder)
        files.share(folder)
        made = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        manifest["seconds"] = round(time.perf_counter() - start, 2)
        manifest["files"] = {path.relative_to(folder).as_posix(): files.digest(path) for path in made}
        files.write(folder / MANIFEST, f"{json.dumps(manifest, indent=2, ensure_ascii=False)}\n")
    except BaseException:
        files.remove(around)
        raise
    return folder


def lock_of(place: Path) -> Path:
    """Return the file of the lock under which a result is made, replaced and removed."""
    return place.with_name(f"{place.name}{LOCK}")


def _used_as(place: Path) -> str:
    return f"{place.parent.name}.{place.name}"


def is_whole(place: Path) -> bool:
    """Tell whether a folder holds a stage's result: the files it was written with, and no others."""
    try:
        listed = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()} - {MANIFEST}
        return set(listed) == there and all(_is_unchanged(place / name, digest) for name, digest in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _is_unchanged(path: Path, digest: str) -> bool:
    now = path.stat()
    stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
    if _checked.get(path) != stamp:
        if files.digest(path) != digest:
            return False
        _checked[path] = stamp
    return True


def link(source: Path, target: Path) -> None:
    """Put the files of a stage's result into a new folder, as links where the file system can, else as copies."""
    shutil.rmtree(target, ignore_errors=True)
    for path in source.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            here = target / path.relative_to(source)
            here.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, here)
            except OSError:
                shutil.copyfile(path, here)


@dataclass(frozen=True)
class Entry:
    """Something in the store: a stage's result, or what became of making one.

    Attributes:
        stage: its kind.
        place: its folder.
        about: data set, model and seed, as far as they made it; of anything else what it is.
        bytes: what its files take up.
        used: when it was last used, in seconds since 1970.
        state: `result`; `training`, where one that is not through can go on; `running`, what a process needs that runs;
            `left`, what one has left that was killed.
    """

    stage: str
    place: Path
    about: str
    bytes: int
    used: float
    state: str = "result"


def entries(folder: Path) -> Iterator[Entry]:
    """Yield the results that a store holds, the longest unused first."""
    found = []
    for manifest in folder.glob(f"*/*/{MANIFEST}"):
        hidden = any(part.startswith(".") for part in manifest.relative_to(folder).parts)
        if not (hidden or manifest.parent.name.endswith(TRAINING)):
            with suppress(OSError):  # pruned meanwhile
                found.append((manifest.stat().st_mtime, manifest))
    for used, manifest in sorted(found):
        place = manifest.parent
        yield Entry(place.parent.name, place, _about(manifest), files.size(place), used)


def unfinished(folder: Path) -> Iterator[Entry]:
    """Yield what a store holds besides results: trainings that can go on, what runs need, what killed ones left."""
    for place in scratch.all_in(folder):
        yield _unfinished(scratch.FOLDER, place, "left" if scratch.is_left(place) else "running")
    for place in sorted(folder.glob("*/*")):
        if place.parent.name.startswith(".") or _has_manifest(place) or not _is_makeshift(place):
            continue
        if place.name.endswith(TRAINING):
            state = "running" if locks.is_held(_guard(place)) else "training"
        else:
            state = "running" if any(map(locks.is_held, _guards(place))) else "left"
        yield _unfinished(place.parent.name, place, state)


def _unfinished(stage: str, place: Path, state: str) -> Entry:
    told = {
        "training": "a training that can go on",
        "running": "of a run that is under way",
        "left": "left by a run that was killed",
    }
    return Entry(stage, place, told[state], files.size(place), files.changed(place), state)


def _is_makeshift(place: Path) -> bool:
    """Tell whether something in a stage's folder is no lock."""
    return place.is_dir() or not any(word in place.name for word in (LOCK, locks.MARKER))


def _has_manifest(place: Path) -> bool:
    with suppress(OSError):
        return (place / MANIFEST).is_file()
    return False  # it is there, perhaps, and cannot be read


def _guard(place: Path) -> Path:
    return place.with_name(f"{place.name.removesuffix(TRAINING)}{LOCK}")


def _guards(place: Path) -> list[Path]:
    """Return the locks of those who may be busy with a folder that is no result: earlier versions made them inside."""
    with suppress(OSError):
        if place.name.startswith("."):
            return [place.with_name(f"{inner.name}{LOCK}") for inner in place.iterdir()]
    return [_guard(place)]


def _about(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["about"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "damaged"


def remove(entry: Entry) -> bool:
    """Remove something from the store, unless a process is making or using it right now; tell whether it is gone.

    Raises:
        OSError: the store cannot be written to.
    """
    if entry.stage == scratch.FOLDER:
        return scratch.is_left(entry.place) and files.remove(entry.place)
    store = entry.place.parent.parent
    if entry.state == "left" and any(map(locks.is_held, _guards(entry.place))):
        return False
    try:
        with locks.lock(_guard(entry.place)):
            if entry.state == "result" and scratch.is_used(store, _used_as(entry.place)):
                return False
            room = Scratch(store)
            try:
                with suppress(FileNotFoundError):
                    if entry.place.is_dir():
                        entry.place.chmod(0o700)
                    entry.place.rename(room.new() / entry.place.name)  # gone at once, so that nobody finds half of it
            finally:
                room.close()
            return True
    except locks.HeldError:
        return False


def remove_locks(folder: Path) -> None:
    """Remove the files of locks that nobody holds."""
    for path in {*folder.glob(f"*/*{LOCK}"), *folder.glob(f"*/*{LOCK}{locks.MARKER}")}:
        locks.remove(path.with_name(path.name.removesuffix(locks.MARKER)))
