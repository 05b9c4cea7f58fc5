"""Tables as records that remember the line they start on: CSV, TSV and JSON lines, as they are or compressed."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lrsl.errors import InputError, nearest, some
from lrsl.strict_json import distinct_keys, parsed

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".json")
PARQUET = ".parquet"
COMPRESSED = ".gz"
CHECKED, TRUSTED, LITERAL = QUOTING = ("checked", "trusted", "none")
"""What quotation marks in CSV and TSV may mean, see `read_records`."""
KEY = "dataset.quoting="
"""How a run is told so."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_LONGEST_FIELD = 2**31 - 1  # the csv module stops at 131,072 characters unless told
_BETWEEN_RECORDS = re.compile(r"[\s,]*")


class Record(NamedTuple):
    """One record of a table: where it starts, and its value per column.

    Attributes:
        file: the file, or the folder.
        line: on which line it starts; where the file has none, which row it is, 1 for the first.
        values: its value per column.
        unit: what `line` counts, lines or rows.
    """

    file: Path
    line: int
    values: dict[str, Any]
    unit: str = "line"

    @property
    def place(self) -> str:
        """File and line, the way editors and compilers write it."""
        return f"{self.file}:{self.line}" if self.unit == "line" else f"{self.file}, row {self.line}"


def read_records(path: Path, quoting: str = CHECKED) -> list[Record]:
    """Return the records of a CSV, TSV or JSON lines file, told apart by the file's ending, in file order.

    A .json file may hold one object per line or one array of objects. Files are UTF-8, with or without a byte order
    mark, and compressed where .gz follows their ending. Blank lines between records are skipped. CSV and TSV have a
    header.

    Args:
        path: the file.
        quoting: what quotation marks mean in CSV and TSV. With `checked` a field may stand in them, and doubles those
            it holds; one that may have swallowed other records is refused: in TSV any field of several lines, in CSV
            one that holds the separator, and whose first and last line have as many fields as the header. `trusted`
            takes such fields at their word. With `none` the marks are characters like any other, and every line is a
            record.

    Raises:
        InputError: the ending is unknown, the file cannot be read, is not UTF-8, is malformed or holds no record.
    """
    readers: dict[str, Callable[[Path, str], Iterator[Record]]] = {
        ".csv": lambda path, text: _csv_records(path, io.StringIO(text, newline=""), ",", quoting),
        ".tsv": lambda path, text: _csv_records(path, io.StringIO(text, newline=""), "\t", quoting),
        ".jsonl": _json_records,
        ".json": _json_records,
    }
    ending = _known_ending(path)
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}:1 is empty; the file must hold at least one record")
    records = list(readers[ending](path, text))
    if not records:
        raise InputError(f"{path}:1 is followed by no record; the file must hold at least one")
    return records


def iterate_records(path: Path, quoting: str = CHECKED, key: str = KEY) -> Iterator[Record]:
    """Yield what `read_records` returns, a record after the other, without holding the file in memory.

    A .json file is read as a whole.

    Args:
        path: the file.
        quoting: as for `read_records`.
        key: how an error has another quoting typed.

    Raises:
        InputError: as for `read_records`, when the record is reached.
    """
    ending, found = _known_ending(path), False
    if ending == ".json":
        yield from read_records(path, quoting)
        return
    with _opened(path, "\n" if ending == ".jsonl" else "") as lines:
        records = (
            _of_lines(path, _line_values(path, lines))
            if ending == ".jsonl"
            else _csv_records(path, lines, "," if ending == ".csv" else "\t", quoting, key)
        )
        for record in records:
            found = True
            yield record
    if not found:
        raise InputError(f"{path}:1 is followed by no record; the file must hold at least one")


def count_lines(path: Path) -> int:
    """Return the number of lines of a JSON lines file that are not blank, without reading what they say.

    Raises:
        InputError: it cannot be read, is not UTF-8, or has no such line.
    """
    with _opened(path, "\n") as lines:
        number = sum(1 for line in lines if line.strip())
    if not number:
        raise InputError(f"{path}:1 is followed by no record; the file must hold at least one")
    return number


def _known_ending(path: Path) -> str:
    ending = format_of(path)
    if ending not in TABLE_ENDINGS:
        known = ", ".join(TABLE_ENDINGS)
        hint = nearest(ending, [*TABLE_ENDINGS, PARQUET]) or f"; {PARQUET} is read, too"
        raise InputError(f"{path} has the unknown ending '{ending}'; use one of {known}{hint}")
    return ending


@contextmanager
def _opened(path: Path, newline: str) -> Iterator[Iterable[str]]:
    """Give the lines of a file as they are read, without its byte order mark."""
    compressed = path.suffix.lower() == COMPRESSED
    try:
        with (gzip.open if compressed else open)(path, "rt", encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (0x{error.object[error.start]:02x}); save the file as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is no whole gzip file ({error}); compress it again with gzip") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a readable file") from None


def format_of(path: Path) -> str:
    """Return the ending that says how a file is read, in small letters; that of compression aside."""
    compressed = path.suffix.lower() == COMPRESSED
    return (path.with_suffix("") if compressed else path).suffix.lower()


def read_text(path: Path) -> str:
    """Return the file's text without its byte order mark, line endings untouched; a .gz file's is decompressed.

    Raises:
        InputError: the file cannot be read, is no gzip though its name says so, or is not UTF-8; then with line and
            byte.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is none
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); name a readable file") from None
    if path.suffix.lower() == COMPRESSED:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is no whole gzip file ({error}); compress it again with gzip") from None
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = (content[: error.start] + b"?").splitlines()
        raise InputError(
            f"{path}:{len(before)} is not UTF-8: byte {len(before[-1])} of the line is "
            f"0x{content[error.start]:02x}; save the file as UTF-8"
        ) from None


def check_whole(value: Any, place: str, where: str) -> None:
    """Check that the strings in a value have no half a character, which JSON can spell out and no file can hold.

    Args:
        value: a string, or lists and objects with some.
        place: file and line, for the error.
        where: the column, as in ` in the column dataset.text=text`.

    Raises:
        InputError: one of them has.
    """
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            waiting += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list | tuple):
            waiting += inner
        elif isinstance(inner, str):
            try:
                inner.encode()
            except UnicodeEncodeError as error:
                half = f"{ord(inner[error.start]):#x}"
                raise InputError(f"{place} has half a character ({half}){where}; remove it") from None


def _csv_records(path: Path, lines: Iterable[str], delimiter: str, quoting: str, key: str = KEY) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_FIELD)
    of_record: list[str] = []  # the lines that have been read since the last one

    def read() -> Iterator[str]:
        for line in lines:
            of_record.append(line)
            yield line

    marks: Literal[0, 3] = csv.QUOTE_NONE if quoting == LITERAL else csv.QUOTE_MINIMAL
    # strict: a quotation mark that is never closed would otherwise swallow the rest of the file in silence
    reader = csv.reader(read(), delimiter=delimiter, quoting=marks, strict=True)
    columns: list[str] = []
    header = ""
    line = 1
    try:
        for fields in reader:
            start, line = line, reader.line_num + 1
            own = of_record.copy()
            of_record.clear()
            if not fields:
                continue
            if quoting == CHECKED and len(own) > 1:
                _check_span(path, start, own, fields, header or "".join(own), delimiter=delimiter, key=key)
            if not columns:
                columns = _header(path, start, fields)
                header = "".join(own)
            elif len(fields) == len(columns):
                yield Record(path, start, dict(zip(columns, fields, strict=True)))
            else:
                remedy = (
                    f"with {key}none no field can hold the separator"
                    if quoting == LITERAL
                    else "put a field that holds the separator in quotation marks"
                )
                raise InputError(
                    f"{path}:{start} has {len(fields)} fields where the header names {len(columns)} "
                    f"({some(columns)}); {remedy}"
                )
    except csv.Error as error:
        raise InputError(
            f"{path}:{_line_of_mistake(''.join(of_record), line, delimiter)} is malformed ({error}); put a "
            "field that holds a quotation mark in quotation marks and double the mark inside, or read the marks as "
            f"they are with {key}none"
        ) from None


def _check_span(
    path: Path, start: int, lines: Sequence[str], fields: Sequence[str], header: str, *, delimiter: str, key: str
) -> None:
    """Refuse a field of several lines that may have swallowed other records.

    In CSV there can be none where header and record have every field in quotation marks.

    Args:
        path: the file.
        start: the line on which the record starts.
        lines: the record's lines.
        fields: its fields.
        header: the header as it stands in the file.
        delimiter: what stands between two fields.
        key: how the error has another quoting typed.
    """
    if delimiter != "\t" and all(_is_quoted(text, delimiter) for text in (header, "".join(lines))):
        return
    first = 0
    for field in fields:
        last = first + len(_LINE_END.findall(field))
        of_field = lines[first : last + 1]
        if last > first and (delimiter == "\t" or _looks_like_records(field, of_field, header, delimiter)):
            raise InputError(
                f"{path}:{start + first} opens a field with a quotation mark that is closed on line {start + last}, so "
                f"that {last - first + 1} lines become one record; read the marks as they are with {key}none, or, if "
                f"the field is meant to have several lines, say so with {key}trusted"
            )
        first = last


def _is_quoted(record: str, delimiter: str) -> bool:
    """Tell whether every field of a record stands in quotation marks."""
    return re.fullmatch(rf'(?:"[^"]*(?:""[^"]*)*"(?:{delimiter}(?=")|\s*\Z))+', record) is not None


def _looks_like_records(field: str, lines: Sequence[str], header: str, delimiter: str) -> bool:
    """Tell whether a field of several lines, in a CSV file, may be records that a quotation mark has swallowed.

    It is none where its first or last line would be a record of a quotation mark alone, or where its lines end
    otherwise than records do, as in what spreadsheets save.
    """
    own = _LINE_END.split(field)
    other_ends = header.endswith("\r\n") and lines[-1].endswith("\r\n") and "\r\n" not in field
    return (
        delimiter in field
        and bool(own[0].strip() and own[-1].strip())
        and not other_ends
        and min(_most_fields(line, delimiter) for line in (lines[0], lines[-1])) >= _fields(header, delimiter) > 1
    )


def _fields(record: str, delimiter: str) -> int:
    """Return the number of fields of the record with which a text begins."""
    return len(next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter)))


def _most_fields(line: str, delimiter: str) -> int:
    """Return the number of fields of a line by itself, its quotation marks taken for such or not, whatever is more."""
    return max(line.count(delimiter) + 1, _fields(line, delimiter))


def _line_of_mistake(text: str, line: int, delimiter: str) -> int:
    """Return the line of the field at which the first record of a text is malformed.

    Args:
        text: begins with the record.
        line: on which line that is.
        delimiter: what stands between two fields.
    """
    field_pattern = re.compile(rf'"[^"]*(?:""[^"]*)*(?:"(?=[{delimiter}\r\n]|\Z)|(?P<wrong>))|[^{delimiter}\r\n]*')
    position = 0
    while field := field_pattern.match(text, position):
        position = field.end() + 1
        if field["wrong"] is not None or text[field.end() : position] != delimiter:
            break
        line += len(_LINE_END.findall(field[0]))
    return line


def _header(path: Path, line: int, columns: list[str]) -> list[str]:
    for column, times in Counter(columns).items():
        if column and times > 1:
            raise InputError(f"{path}:{line} names the column '{column}' twice; column names must differ")
    return columns


def _json_records(path: Path, text: str) -> Iterator[Record]:
    if format_of(path) == ".json" and text.lstrip().startswith("["):
        return _of_lines(path, _array_values(path, text))
    return _of_lines(path, _line_values(path, text.split("\n")))  # splitlines would cut at U+2028, which JSON allows


def _of_lines(path: Path, values: Iterable[tuple[int, Any]]) -> Iterator[Record]:
    for line, value in values:
        if not isinstance(value, dict):
            raise InputError(
                f"{path}:{line} holds a JSON {type(value).__name__} where an object is expected, such as "
                '{"text": "…", "label": "…"}'
            )
        yield Record(path, line, value)


def _line_values(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(lines, start=1):
        if content.strip():
            yield line, _parse_json(path, line, content)


def _array_values(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    _parse_json(path, 1, text, distinct=False)  # from here on the text is known to be one valid array
    decoder = json.JSONDecoder(object_pairs_hook=distinct_keys)
    line, counted, position = 1, 0, text.index("[") + 1
    while True:
        between = _BETWEEN_RECORDS.match(text, position)
        position = between.end() if between else position
        if text[position] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError as error:
            raise _invalid(path, line, str(error)) from None
        yield line, value


def _parse_json(path: Path, line: int, content: str, *, distinct: bool = True) -> Any:
    try:
        return parsed(content, distinct=distinct, finite=True)
    except json.JSONDecodeError as error:
        reason, line = f"{error.msg.lower()} at column {error.colno}", line + error.lineno - 1
    except ValueError as error:
        reason = str(error)
    raise _invalid(path, line, reason)


def _invalid(path: Path, line: int, reason: str) -> InputError:
    return InputError(f"{path}:{line} is not valid JSON ({reason}); give one object per line")
