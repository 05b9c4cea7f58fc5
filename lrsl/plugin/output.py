"""Answers written as they come, so that a process that is killed is taken up where it was.

Beside the file that is to be stands a part of it, and a journal that says what it is a part of and how much of it is
sure. Whatever the form of the file, the same answers give the same bytes, taken up or not.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrsl.errors import InputError
from lrsl.plugin.answers import Answer, is_changed
from lrsl.text import cell

CSV, JSONL, PARQUET = ENDINGS = (".csv", ".jsonl", ".parquet")
PART, JOURNAL, LOCK = ".part", ".part.json", ".part.lock"
"""What follows the name of the file in the names of its part, the journal and the lock."""
HEADER = ("row", "answer", "hard", "labels", "candidates")
ROWS_AT_ONCE = 16_384  # in a row group of Parquet
DIGITS = 7  # of a score


class Output:
    """A file of answers that is being written.

    Attributes:
        path: the file.
        rows: how many answers are sure to be in the part.
        hard: how many of them are of hard rows.
        changed: how many of them are not the classifier's.
        whole: whether all had been written before, so that nothing is left to do.
    """

    def __init__(self, path: Path, of: Mapping[str, Any], total: int) -> None:
        """Begin a file, or take it up, unless no row is sure; `opened` does it with a lock.

        Raises:
            InputError: the ending is unknown, there is such a file already, or its part is of something else.
        """
        self.path, self.of, self.total = path, dict(of), total
        self._part, self._journal = (path.with_name(path.name + ending) for ending in (PART, JOURNAL))
        noted = self._noted()
        self.rows, self.hard, self.changed = (int(noted[name]) for name in ("rows", "hard", "changed"))
        self.whole = path.exists() and self.rows == total and self._journal.exists()
        if path.exists() and not self.whole:
            raise InputError(f"{path} is there already; name another file, or remove it")
        if self.whole:  # it was killed while it cleaned up
            self._clean()
            return
        if not self._part.exists():
            self.rows = self.hard = self.changed = 0
            noted = {"bytes": 0}
        self._file = self._part.open("r+b" if self._part.exists() else "w+b")
        self._file.truncate(int(noted["bytes"]))  # what was written after the journal is written again
        self._file.seek(0, os.SEEK_END)

    @classmethod
    @contextmanager
    def opened(cls, path: Path, of: Mapping[str, Any], total: int) -> Iterator[Output]:
        """Give a file that is begun or taken up, and let no other process write it.

        Args:
            path: the file, whose ending says its form: .csv, .jsonl or .parquet.
            of: what the answers are made of, as plain data; a part that was made of something else is not taken up.
            total: how many answers there will be.

        Raises:
            InputError: the ending is unknown, its folder is none, there is such a file already, its part is of
                something else, or another process writes it.
        """
        if path.suffix not in ENDINGS:
            raise InputError(
                f"{path} has the unknown ending '{path.suffix}'; answers are written as {', '.join(ENDINGS)}"
            )
        if not path.parent.is_dir():
            raise InputError(f"{path.parent} is no folder; make it, or name a file elsewhere")
        if path.suffix == PARQUET:
            _pyarrow(path)
        lock = FileLock(path.with_name(path.name + LOCK))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not Path(lock.lock_file).exists():
                raise InputError(f"{path.parent} takes no file; name one in another folder") from None
            raise InputError(f"{path} is being written by another process; wait for it, or name another file") from None
        try:
            output = cls(path, of, total)
            try:
                yield output
            finally:
                if not output.whole:
                    output._file.close()
                    if not output.rows:  # nothing to take up
                        output._clean()
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def add(self, answers: Sequence[Answer]) -> None:
        """Write the answers to the next rows, and note that they are sure."""
        if not self._file.tell() and self.path.suffix == CSV:
            self._file.write(_csv_line(HEADER))
        line = _csv_row if self.path.suffix == CSV else json_row
        self._file.write(b"".join(line(row, answer) for row, answer in enumerate(answers, start=self.rows)))
        self.rows += len(answers)
        self.hard += sum(answer.hard for answer in answers)
        self.changed += sum(map(is_changed, answers))
        self._note()

    def finish(self) -> None:
        """Give the file its name, now that it is whole."""
        self._file.close()
        if self.path.suffix == PARQUET:
            made = self.path.with_name(f"{self.path.name}{PART}{PARQUET}")
            _to_parquet(self._part, made)
            made.replace(self.path)
        else:
            self._part.replace(self.path)
        self._clean()

    def _noted(self) -> dict[str, Any]:
        nothing = dict.fromkeys(("rows", "hard", "changed", "bytes"), 0)
        if not self._journal.exists():
            return nothing
        try:
            noted: dict[str, Any] = json.loads(self._journal.read_text(encoding="utf-8"))
            of, _ = noted["of"], [int(noted[name]) for name in nothing]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._journal} is damaged; remove it and {self._part.name} to begin anew") from None
        if not noted["rows"]:
            return nothing
        differing = sorted(name for name in {*of, *self.of} if of.get(name) != self.of.get(name))
        if differing:
            raise InputError(
                f"{self._part} is of other {' and '.join(differing)}; give the same, or remove it and "
                f"{self._journal.name} to begin anew"
            )
        return noted

    def _note(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        counts = {"rows": self.rows, "hard": self.hard, "changed": self.changed, "bytes": self._file.tell()}
        text = json.dumps({"of": self.of, **counts}, indent=2)
        fresh = self._journal.with_name(f"{self._journal.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._journal)

    def _clean(self) -> None:
        self._part.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "answer": answer.name,
        "hard": answer.hard,
        **({} if answer.names is None else {"labels": answer.names}),
        "candidates": [
            {"label": one.name, "before": _rounded(one.before), "after": _rounded(one.after)}
            for one in answer.candidates
        ],
    }


def _rounded(score: float) -> float:
    return float(f"{score:.{DIGITS}g}")


def json_row(row: int, answer: Answer) -> bytes:
    """Return the answer to a row as a line of JSON."""
    return (json.dumps({"row": row, **_plain(answer)}, ensure_ascii=False) + "\n").encode()


def _csv_row(row: int, answer: Answer) -> bytes:
    found = _plain(answer)
    lists = (json.dumps(found.get(name), ensure_ascii=False) if name in found else "" for name in HEADER[3:])
    return _csv_line((row, cell(found["answer"]), str(found["hard"]).lower(), *lists))


def _csv_line(fields: Sequence[Any]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue().encode()


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError:
        raise InputError(
            f"{path} needs the package pyarrow, which is not installed; pip install 'lrsl[parquet]' adds it, or name a "
            ".jsonl file"
        ) from None
    return pyarrow


def _to_parquet(lines: Path, path: Path) -> None:
    """Turn answers in JSON lines into Parquet, a row group after the other."""
    pa = _pyarrow(path)
    from pyarrow import parquet  # noqa: PLC0415

    candidate = pa.struct([("label", pa.string()), ("before", pa.float64()), ("after", pa.float64())])
    types = (pa.int64(), pa.string(), pa.bool_(), pa.list_(pa.string()), pa.list_(candidate))
    schema = pa.schema(list(zip(HEADER, types, strict=True)))
    with lines.open(encoding="utf-8", newline="\n") as file, parquet.ParquetWriter(path, schema) as writer:
        while rows := [json.loads(line) for line in islice(file, ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
