"""Logits in files, some rows at a time: .npy, .npz, .safetensors, JSON lines and Parquet."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lrsl.data.arrow import parquet_schema
from lrsl.data.rows import count, records
from lrsl.data.table import PARQUET, Record, format_of
from lrsl.errors import InputError, nearest

KEY = "logits"
CLASSES = "classes"
ENDINGS = (".npy", ".npz", ".safetensors", ".jsonl", PARQUET)
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
"""What the libraries raise at a .npz file that is damaged."""

Array = NDArray[Any]


@dataclass(frozen=True)
class LogitsFile:
    """A file of logits that has been looked at, and not read.

    Attributes:
        path: the file.
        key: the array, the tensor or the column that holds them; None where there is a column per class.
        rows: how many there are.
        names: what the file calls the classes, in the order of the columns; None where it does not say.
    """

    path: Path
    key: str | None
    rows: int
    names: list[Any] | None = None

    def chunks(self, size: int, start: int = 0) -> Iterator[Array]:
        """Yield the logits `(rows, classes)` from a row on, so many rows at a time, the last ones fewer.

        Raises:
            InputError: a row has no logits, or fewer or more than the others.
        """
        match format_of(self.path):
            case ".npy":
                for first in range(start, self.rows, size):  # opened anew, so that what was read does not stay mapped
                    yield np.array(_npy(self.path)[first : first + size])
            case ".npz":
                yield from self._of_npz(size, start)
            case ".safetensors":
                for first in range(start, self.rows, size):
                    try:
                        with _safetensors(self.path) as file:
                            chunk = np.array(file.get_slice(self.key)[first : min(first + size, self.rows)])
                    except TypeError:
                        raise InputError(
                            f"{self.path} holds {self.key} in a type that numpy does not know; save it as float32"
                        ) from None
                    yield chunk
            case _:
                yield from self._of_table(size, start)

    def all(self) -> Array:
        """Return all logits, `(n, classes)`."""
        return np.concatenate(list(self.chunks(4096)))

    def _of_npz(self, size: int, start: int) -> Iterator[Array]:
        try:
            yield from self._of_member(size, start)
        except BROKEN as error:
            raise InputError(f"{self.path} cannot be read ({error}); write it anew with numpy.savez") from None

    def _of_member(self, size: int, start: int) -> Iterator[Array]:
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as file:
            shape, dtype = _header(file, self.path)
            width = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            file.seek(start * width, 1)
            for first in range(start, shape[0], size):
                rows = min(size, shape[0] - first)
                content = file.read(rows * width)
                if len(content) != rows * width:
                    raise InputError(f"{self.path} ends in the middle of row {first}; write it anew")
                yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])

    def _of_table(self, size: int, start: int) -> Iterator[Array]:
        columns = [self.key] if self.key is not None else None
        found = islice(records(self.path, columns=columns), start, None)
        classes = None
        while rows := [_row(record, self.key) for record in islice(found, size)]:
            for number, row in enumerate(rows):
                classes = classes or len(row)
                if len(row) != classes:
                    raise InputError(
                        f"{self.path}, row {start + number + 1} has {len(row)} logits, and rows before it {classes}; "
                        "each must have one per class"
                    )
            try:
                yield np.array(rows, dtype=np.float64)
            except OverflowError:
                raise InputError(
                    f"{self.path}, rows {start + 1} to {start + len(rows)} have a number that is too large for a logit"
                ) from None
            start += len(rows)


def look_at(path: Path, key: str | None = None) -> LogitsFile:
    """Return what a file of logits holds; only JSON lines are read for it, once, to count them.

    In .npz and .safetensors the logits are called `logits`, or are all there is, and `classes` names the classes. In
    JSON lines and Parquet `logits` is a list per row, or each column is a class and named after it.

    Args:
        path: the file.
        key: what the logits are called.

    Raises:
        InputError: it cannot be read, is of an unknown kind, or has no logits.
    """
    ending = format_of(path)
    if ending not in ENDINGS or (path.suffix.lower() == ".gz" and ending != ".jsonl"):
        raise InputError(f"{path} has the unknown ending '{path.suffix}'; logits are read from {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"{path} is no file; name one with logits")
    if ending == ".npy":
        return LogitsFile(path, None, _matrix_rows(_npy(path).shape, path))
    if ending == ".npz":
        return _npz(path, key)
    if ending == ".safetensors":
        with _safetensors(path) as file:
            name = _chosen(list(file.keys()), key, path)
            return LogitsFile(path, name, _matrix_rows(tuple(file.get_slice(name).get_shape()), path))
    if ending == PARQUET:
        rows, columns = parquet_schema(path)
    else:
        rows, columns = count(path), list(next(records(path)).values)
    if (key or KEY) in columns:
        return LogitsFile(path, key or KEY, rows)
    if key is not None:
        raise InputError(f"{path} has no column '{key}'; it has {', '.join(columns)}{nearest(key, columns)}")
    for column, number in next(records(path)).values.items():
        if not _is_number(number):
            raise InputError(
                f"{path} has no column '{KEY}', and '{column}' is not the logits of a class; name the column with "
                "--logits-key"
            )
    return LogitsFile(path, None, rows, columns)


def _npz(path: Path, key: str | None) -> LogitsFile:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            name = _chosen([array for array in arrays if array != CLASSES] or arrays, key, path)
            with archive.open(f"{name}.npy") as file:
                rows = _matrix_rows(_header(file, path)[0], path)
    except BROKEN as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew with numpy.savez") from None
    return LogitsFile(path, name, rows, _classes(path) if CLASSES in arrays else None)


def _classes(path: Path) -> list[Any]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            array = loaded[CLASSES]
    except BROKEN as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew with numpy.savez") from None
    except ValueError:
        raise InputError(f"{path} holds classes that are Python objects; write them as strings") from None
    if array.ndim != 1:
        raise InputError(f"{path} holds classes of shape {array.shape}; they are (classes,)")
    names: list[Any] = array.tolist()
    return names


def _npy(path: Path) -> Array:
    try:
        loaded: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew with numpy.save") from None
    return loaded


def _header(file: Any, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew with numpy.savez") from None
    if dtype.hasobject or by_columns:
        what = "Python objects" if dtype.hasobject else "its columns one after the other"
        raise InputError(
            f"{path} holds {what}; write numbers, as in numpy.savez(path, logits=numpy.ascontiguousarray(z))"
        )
    return shape, dtype


def _safetensors(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it anew") from None


def _chosen(names: list[str], key: str | None, path: Path) -> str:
    wanted = key or (names[0] if len(names) == 1 else KEY)
    if wanted not in names:
        raise InputError(
            f"{path} has nothing called '{wanted}'; name one of {', '.join(names) or '(none)'} with --logits-key"
            f"{nearest(wanted, names)}"
        )
    return wanted


def _matrix_rows(shape: tuple[int, ...], path: Path) -> int:
    if len(shape) != 2:
        raise InputError(f"{path} holds an array of shape {shape}; logits are a matrix (n, classes)")
    return shape[0]


def _row(record: Record, key: str | None) -> list[float]:
    row = list(record.values.values()) if key is None else record.values.get(key)
    if not isinstance(row, list) or not all(map(_is_number, row)):
        raise InputError(f"{record.place} has {str(row)[:60]} for logits; it must be a list of numbers, one per class")
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
