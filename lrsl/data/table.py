"""Tables as records that remember the line they start on: CSV, TSV and JSON lines."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from lrsl.errors import InputError, nearest

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".json")
_LONGEST_FIELD = 2**31 - 1  # the csv module stops at 131,072 characters unless told
_BETWEEN_RECORDS = re.compile(r"[\s,]*")


class Record(NamedTuple):
    """One record of a table: where it starts, and its value per column."""

    file: Path
    line: int
    values: dict[str, Any]

    @property
    def place(self) -> str:
        """File and line, the way editors and compilers write it."""
        return f"{self.file}:{self.line}"


def read_records(path: Path) -> list[Record]:
    """Return the records of a CSV, TSV or JSON lines file, told apart by the file's ending, in file order.

    A .json file may hold one object per line or one array of objects. Files are UTF-8, with or without a byte order
    mark. Blank lines between records are skipped. CSV and TSV have a header and double their quotation marks.

    Raises:
        InputError: the ending is unknown, the file cannot be read, is not UTF-8, is malformed or holds no record.
    """
    readers = dict(zip(TABLE_ENDINGS, (_csv_records, _tsv_records, _json_records, _json_records), strict=True))
    ending = path.suffix.lower()
    if ending not in readers:
        known = ", ".join(TABLE_ENDINGS)
        raise InputError(
            f"{path} has the unknown ending '{ending}'; use one of {known}{nearest(ending, list(TABLE_ENDINGS))}"
        )
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}:1 is empty; the file must hold at least one record")
    records = list(readers[ending](path, text))
    if not records:
        raise InputError(f"{path}:1 is followed by no record; the file must hold at least one")
    return records


def read_text(path: Path) -> str:
    """Return the file's text without its byte order mark, line endings untouched.

    Raises:
        InputError: the file cannot be read, or is not UTF-8; then with line and byte.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a readable file") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = (content[: error.start] + b"?").splitlines()
        raise InputError(
            f"{path}:{len(before)} is not UTF-8: byte {len(before[-1])} of the line is "
            f"0x{content[error.start]:02x}; save the file as UTF-8"
        ) from None


def _csv_records(path: Path, text: str, delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)
    # strict: a quotation mark that is never closed would otherwise swallow the rest of the file in silence
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    line = 1
    try:
        for fields in reader:
            start, line = line, reader.line_num + 1
            if not fields:
                continue
            if not columns:
                columns = _header(path, start, fields)
            elif len(fields) == len(columns):
                yield Record(path, start, dict(zip(columns, fields, strict=True)))
            else:
                raise InputError(
                    f"{path}:{start} has {len(fields)} fields where the header names {len(columns)} "
                    f"({', '.join(columns)}); put a field that holds the separator in quotation marks"
                )
    except csv.Error as error:
        raise InputError(
            f"{path}:{line} is malformed ({error}); put a field that holds a quotation mark in quotation marks and "
            "double the mark inside"
        ) from None


def _tsv_records(path: Path, text: str) -> Iterator[Record]:
    return _csv_records(path, text, delimiter="\t")


def _header(path: Path, line: int, columns: list[str]) -> list[str]:
    for i, column in enumerate(columns):
        if column and column in columns[:i]:
            raise InputError(f"{path}:{line} names the column '{column}' twice; column names must differ")
    return columns


def _json_records(path: Path, text: str) -> Iterator[Record]:
    values = _array_values if path.suffix.lower() == ".json" and text.lstrip().startswith("[") else _line_values
    for line, value in values(path, text):
        if not isinstance(value, dict):
            raise InputError(
                f"{path}:{line} holds a JSON {type(value).__name__} where an object is expected, such as "
                '{"text": "…", "label": "…"}'
            )
        yield Record(path, line, value)


def _line_values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text.split("\n"), start=1):  # splitlines would cut at U+2028, which JSON allows
        if content.strip():
            yield line, _parse_json(path, line, content)


def _array_values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    _parse_json(path, 1, text)  # from here on the text is known to be one valid array
    decoder = json.JSONDecoder()
    line, counted, position = 1, 0, text.index("[") + 1
    while True:
        between = _BETWEEN_RECORDS.match(text, position)
        position = between.end() if between else position
        if text[position] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        value, position = decoder.raw_decode(text, position)
        yield line, value


def _parse_json(path: Path, line: int, content: str) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        reason, line = f"{error.msg.lower()} at column {error.colno}", line + error.lineno - 1
    except ValueError as error:
        reason = str(error)
    raise InputError(f"{path}:{line} is not valid JSON ({reason}); give one object per line")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
