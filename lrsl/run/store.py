"""The store of what stages made, addressed by what it was made of: nothing is computed twice.

A stage's result is a folder. Its key is a hash of everything that could change it; whoever asks for the same again gets
the same files. `python -m lrsl.store` lists the store, `python -m lrsl.store prune` makes room.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

FOLDER = "cache"
VARIABLE = "LRSL_CACHE_DIR"
MANIFEST = "stage.json"
STAGES = ("classifier", "logits", "embedding", "similarity", "labels", "tokens")
WHOLE_FILE = 1 << 20  # bytes read at a time

_checked: dict[Path, tuple[int, int]] = {}  # files whose content was found right by this process, as they were then


def key_of(made_of: Mapping[str, Any]) -> str:
    """Return the sixteen hexadecimal digits that stand for what a result is made of, which is plain data."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """Folders by stage and key, each made once, however many processes ask for it at a time.

    A folder appears whole or not at all, and is looked through before it is given out: one whose files are not those
    that were written is made again.

    Args:
        folder: where it is; made when it is first needed.
        again: make everything again that is asked for, and keep that instead.
    """

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        self.folder = folder
        self.again = again
        self._made: set[Path] = set()

    def get(self, stage: str, made_of: Mapping[str, Any], make: Callable[[Path], None], *, about: str = "") -> Path:
        """Return the folder of a stage's result.

        Args:
            stage: the kind of result, such as `classifier`.
            made_of: all that could change it, as plain data.
            make: fills an empty folder; called when there is no such result yet.
            about: what a list of the store says of it.
        """
        place = self.place(stage, made_of)
        if self._is_there(place):
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(place, stage):
            if not self._is_there(place):  # else another process has made it meanwhile
                self._make(place, {"stage": stage, "about": about, "made_of": made_of}, make)
        return place

    def place(self, stage: str, made_of: Mapping[str, Any]) -> Path:
        """Return where a stage's result is, or would be."""
        return self.folder / stage / key_of(made_of)

    def _is_there(self, place: Path) -> bool:
        if self.again and place not in self._made:
            return False
        if not is_whole(place):
            return False
        os.utime(place / MANIFEST)  # so that pruning knows what is in use
        return True

    def _make(self, place: Path, manifest: dict[str, Any], make: Callable[[Path], None]) -> None:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / place.name
            folder.mkdir()
            make(folder)
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            manifest["seconds"] = round(time.perf_counter() - start, 2)
            manifest["files"] = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)
        self._made.add(place)


def is_whole(place: Path) -> bool:
    """Tell whether a folder holds a stage's result, with the files it was written with."""
    try:
        files = json.loads((place / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(_is_unchanged(place / name, digest) for name, digest in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _is_unchanged(path: Path, digest: str) -> bool:
    now = path.stat()
    if _checked.get(path) != (now.st_size, now.st_mtime_ns):
        if _digest(path) != digest:
            return False
        _checked[path] = (now.st_size, now.st_mtime_ns)
    return True


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(WHOLE_FILE):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _only_one(place: Path, stage: str) -> Iterator[None]:
    """Keep other processes from making the same; say so when it is this one that has to wait."""
    lock = FileLock(f"{place}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another run, which makes the same {stage}", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
    """A stage's result in the store.

    Attributes:
        stage: its kind.
        place: its folder.
        about: data set, model and seed, as far as they made it.
        bytes: what its files take up.
        used: when it was last used, in seconds since 1970.
    """

    stage: str
    place: Path
    about: str
    bytes: int
    used: float


def entries(folder: Path) -> Iterator[Entry]:
    """Yield what a store holds, the longest unused first."""
    manifests = [path for path in folder.glob(f"*/*/{MANIFEST}") if not path.parent.name.startswith(".")]
    for path in sorted(manifests, key=lambda path: path.stat().st_mtime):
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        yield Entry(path.parent.parent.name, path.parent, _about(path), size, path.stat().st_mtime)


def _about(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["about"])
    except (OSError, ValueError, KeyError):
        return "damaged"


def remove(entry: Entry) -> bool:
    """Remove a result, unless some process is making it right now; tell whether it is gone."""
    lock = FileLock(f"{entry.place}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        shutil.rmtree(entry.place)
    finally:
        lock.release()
    return True
