"""Files that are whole or not there, also after a power cut; and what a disk that refuses says, in a sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
"""What ends the name of a file that is being written."""
CHUNK = 1 << 20  # bytes read at a time

_ROOM = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)
_OTHERS = (errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ELOOP)
_NAMELESS = {"PytorchStreamWriter failed": errno.ENOSPC, "unexpected pos": errno.ENOSPC}  # how torch says it

_OWNERS = 0o600


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    of_file = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            of_file.update(chunk)
    return of_file.hexdigest()


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; what was there before stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        partial.write_text(text, encoding="utf-8")
        replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def replace(partial: Path, path: Path) -> None:
    """Give a file that has been written its name, once the disk holds its content."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def umask() -> int:
    """Return the permissions that this process's new files are not given."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def share(place: Path) -> None:
    """Give a file, or those in a folder, the permissions of any new file; safetensors writes for the owner alone."""
    mode = 0o666 & ~umask()
    for path in [place] if place.is_file() else place.rglob("*"):
        if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) == _OWNERS:
            path.chmod(mode)


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder; where a system cannot say so, nothing happens.

    Raises:
        OSError: what was written does not fit there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (*_ROOM, errno.EIO, errno.EFBIG):
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> bool:
    """Remove a file, or a folder and what is in it, whatever their modes; tell whether it is gone."""
    if path.is_dir() and not path.is_symlink():
        for _ in range(2):
            shutil.rmtree(path, ignore_errors=True)
            if not os.path.lexists(path):
                return True
            _open_up(path)
    with suppress(OSError):
        path.unlink()
    return not os.path.lexists(path)


def size(path: Path) -> int:
    """Return how many bytes the files in a folder take up, as far as they can be seen."""
    return sum(found.st_size for found in _stats(path))


def changed(path: Path) -> float:
    """Return when a folder or anything in it was changed last, in seconds since 1970; 0 where it is gone."""
    times = [found.st_mtime for found in _stats(path)]
    with suppress(OSError):
        times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def trouble(error: BaseException | None, places: Sequence[Path] = ()) -> str | None:
    """Return in a sentence what a disk, or the rights on it, refused; None where an error is of another kind.

    Args:
        error: what was raised, perhaps by a library that was told by the system.
        places: where that may have been, for errors that do not say so.
    """
    while error is not None:
        number, path = _number(error), getattr(error, "filename2", None) or getattr(error, "filename", None)
        if number is not None:
            return _sentence(number, Path(os.fsdecode(path)) if isinstance(path, str | bytes) else None, places)
        wraps = isinstance(error, OSError | RuntimeError)
        error = error.__cause__ or (error.__context__ if wraps and not error.__suppress_context__ else None)
    return None


def _number(error: BaseException) -> int | None:
    known = (*_ROOM, *_CLOSED, *_IN_THE_WAY, *_OTHERS)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in known else None
    if isinstance(error, ValueError | TypeError | LookupError):
        return None
    said = str(error)
    if (found := re.search(r"\(os error (\d+)\)", said)) is not None:  # how libraries in Rust say it
        return int(found[1]) if int(found[1]) in known else None
    return next((number for words, number in _NAMELESS.items() if words in said), None)


def _sentence(number: int, path: Path | None, places: Sequence[Path]) -> str:
    where = " or ".join(str(place.absolute()) for place in ([path] if path is not None else places))
    said = os.strerror(number)
    if number in _IN_THE_WAY and path is not None:
        obstacle = next((one for one in (path, *path.parents) if os.path.lexists(one) and not one.is_dir()), path)
        kinds = ("a folder", "a file") if obstacle.is_dir() else ("a file", "a folder")
        return f"{obstacle.absolute()}: {kinds[0]} is where {kinds[1]} should be; move it away, or name another folder"
    remedy = "work in a folder that can be written to"
    if number in _ROOM:
        remedy = "make room there, and the same command goes on"
    elif number == errno.EFBIG:
        remedy = "raise the limit on the size of files (ulimit -f)"
    elif number in _OTHERS:
        remedy = "see to that, and the same command goes on"
    return f"{where}{': ' if where else ''}{said}; {remedy}"


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield (Path(root) / name).lstat()


def _open_up(folder: Path) -> None:
    def again(path: Any) -> None:
        with suppress(OSError):
            Path(path).chmod(0o700)

    again(folder)
    for root, folders, _ in os.walk(folder):
        for name in folders:
            again(Path(root) / name)
