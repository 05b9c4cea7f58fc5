"""Texts, labels and other values of a table's rows, a row after the other, whatever kind of file it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrsl.data.arrow import iterate_parquet, parquet_schema, read_saved_dataset
from lrsl.data.table import CHECKED, PARQUET, Record, count_lines, format_of, iterate_records
from lrsl.errors import InputError, nearest

FLAG = "--quoting "
"""How the commands that read such rows are told what quotation marks mean."""
_SEPARATORS = re.compile("[;\t|]")


def records(path: Path, quoting: str = CHECKED, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """Yield the records of a table in memory that does not grow with it.

    A .json file with an array, and a folder that `datasets.Dataset.save_to_disk` has written, are read as a whole.

    Args:
        path: the file or the folder.
        quoting: what quotation marks mean in CSV and TSV, as for `read_records`.
        columns: those that are read of a Parquet file.

    Raises:
        InputError: it cannot be read, is malformed or holds no record.
    """
    if path.is_dir():
        return iter(read_saved_dataset(path))
    return iterate_parquet(path, columns) if format_of(path) == PARQUET else iterate_records(path, quoting, FLAG)


def texts(path: Path, key: str | None = None, quoting: str = CHECKED) -> Iterator[str]:
    """Yield the text of each row.

    Args:
        path: the file or the folder.
        key: the column; unless given `text`, or the only one.
        quoting: as for `records`.

    Raises:
        InputError: it cannot be read, or a row has no text.
    """
    for record in records(path, quoting, _only(path, key)):
        text = value(record, key, "text")
        if not isinstance(text, str):
            raise InputError(f"{record.place} has {text!r} for a text; it must be a string")
        yield text


def value(record: Record, key: str | None, usual: str, flag: str | None = None) -> Any:
    """Return the value of a record.

    Args:
        record: from any table.
        key: the column; unless given the usual one, or the only one.
        usual: what the column is called as a rule.
        flag: what names another; `--text-key` for `text` unless given.

    Raises:
        InputError: it has no such column, or one alone, whose name looks like several.
    """
    columns = list(record.values)
    separated = format_of(record.file) in (".csv", ".tsv")
    if separated and key is None and len(columns) == 1 and _SEPARATORS.search(columns[0]):
        raise InputError(
            f"{record.place} has one column, {columns[0]!r}; fields are separated by commas (in .tsv by tabs): save it "
            f"so, or name the column with {flag or f'--{usual}-key'}"
        )
    column = key or (columns[0] if len(columns) == 1 else usual)
    if column not in record.values:
        hint = nearest(column, columns)
        raise InputError(
            f"{record.place} has no column '{column}'; name one of {', '.join(columns)} with "
            f"{flag or f'--{usual}-key'}{hint}"
        )
    return record.values[column]


def count(path: Path, quoting: str = CHECKED) -> int:
    """Return the number of rows, for which a file that is no Parquet is read once.

    Raises:
        InputError: it cannot be read, is malformed or holds no record.
    """
    if path.is_file() and format_of(path) == PARQUET:
        return parquet_schema(path)[0]
    if path.is_file() and format_of(path) == ".jsonl":
        return count_lines(path)
    return sum(1 for _ in records(path, quoting))


def _only(path: Path, key: str | None) -> list[str] | None:
    """Return the column to read of a Parquet file; None for all, where it is not known or not there."""
    if not path.is_file() or format_of(path) != PARQUET:
        return None
    names = parquet_schema(path)[1]
    wanted = key or "text"
    return [wanted] if names.count(wanted) == 1 else None
