"""Answer new texts with the classifier and the reranker of a finished run, in memory that does not grow with them.

lrsl predict RUN_FOLDER texts.csv --out answers.jsonl
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lrsl.commands import answering
from lrsl.commands import given as of
from lrsl.data.table import CHECKED, QUOTING
from lrsl.errors import InputError

if TYPE_CHECKING:
    from lrsl.plugin.function import RerankedFunction
    from lrsl.plugin.output import Output

AT_ONCE = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer, write the answers, and return the exit status."""
    typed = _parser().parse_args(arguments)
    return of.status(lambda: _predict(typed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrsl predict",
        usage="lrsl predict RUN_FOLDER [TABLE] [--out FILE] [flags]",
        description="Give each text an answer, whether it is hard, and its candidates with their scores before and\n"
        "after, by the classifier of a finished run and the reranker that the run deploys. Nothing is\n"
        "trained. Without a table a text is read from each line of the standard input; without --out the\n"
        "answers are JSON lines on the standard output. Cut off, the same command goes on where it was.",
        epilog="example: lrsl predict outputs/telecom34/minilm/0123abcd/seed0 texts.csv --out answers.jsonl",
        formatter_class=of.Help,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN_FOLDER", help="what a finished run has left, with its results.json")
    add("texts", type=Path, nargs="?", metavar="TABLE", help="CSV, TSV, JSON lines or Parquet (standard input)")
    add("--column", "--text-key", metavar="COLUMN", help="column of the texts (text)")
    add("--quoting", choices=QUOTING, default=CHECKED, help="quotation marks in CSV (checked)")
    add("--out", type=Path, metavar="FILE", help="answers: .jsonl, .csv or .parquet (standard output)")
    add("--k", type=int, help="candidates per text (the run's k)")
    add("--at-once", type=int, default=AT_ONCE, metavar="ROWS", help=f"texts held in memory ({AT_ONCE})")
    add("--quiet", action="store_true", help="show no progress")
    return parser


class Source(Protocol):
    """Where texts come from."""

    def __iter__(self) -> Iterator[str]: ...

    def count(self) -> int | None:
        """Return how many there are; None where that is not known before they have been read."""

    def fingerprint(self) -> str:
        """Return a hash of what they are read from."""


class Table:
    """The texts of a table."""

    def __init__(self, path: Path, column: str | None, quoting: str) -> None:
        self.path, self.column, self.quoting = path, column, quoting

    def __iter__(self) -> Iterator[str]:
        from lrsl.data.rows import texts  # noqa: PLC0415

        return texts(self.path, self.column, self.quoting)

    def count(self) -> int:
        """Return the number of rows."""
        from lrsl.data.rows import count  # noqa: PLC0415

        next(iter(self))  # a column that is not there is told before anything is counted
        return count(self.path, self.quoting)

    def fingerprint(self) -> str:
        """Return a hash of the file or the folder."""
        from lrsl import fingerprint  # noqa: PLC0415

        return fingerprint.of_folder(self.path) if self.path.is_dir() else fingerprint.sha256(self.path)


class Lines:
    """A text from each line of the standard input, as it comes."""

    def __iter__(self) -> Iterator[str]:
        number = 0
        for number, line in enumerate(sys.stdin.buffer, 1):
            yield _decoded(line, number)
        if not number:
            raise InputError("the standard input is empty; give a text per line, or name a table")

    def count(self) -> None:
        """Return None: it is not known before they have been read."""

    def fingerprint(self) -> str:
        """Return nothing: what has gone by is not read again."""
        return ""


class Kept(Lines):
    """The lines of the standard input, put aside in a file, so that what was cut off finds them to be the same."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lines"
        self._count = 0
        with self.path.open("w", encoding="utf-8", newline="\n") as file:
            for text in super().__iter__():
                file.write(f"{text}\n")
                self._count += 1

    def __iter__(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.removesuffix("\n")

    def count(self) -> int:  # type: ignore[override]
        """Return the number of lines."""
        return self._count

    def fingerprint(self) -> str:
        """Return a hash of the lines."""
        from lrsl import fingerprint  # noqa: PLC0415

        return fingerprint.sha256(self.path)


def _decoded(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"line {number:,} of the standard input is not UTF-8; convert it") from None


def _predict(typed: argparse.Namespace) -> None:
    from lrsl.nn import threads  # noqa: PLC0415
    from lrsl.run.finished import finished_results  # noqa: PLC0415

    threads.prepare()
    if typed.at_once < 1:
        raise InputError(f"--at-once is {typed.at_once}; it must be at least 1")
    finished_results(typed.run)
    if typed.texts is None and sys.stdin.isatty():
        raise InputError("there are no texts; name a table, or give a text per line on the standard input")
    with tempfile.TemporaryDirectory(prefix="lrsl-") as scratch:
        source: Source
        if typed.texts is not None:
            source = Table(typed.texts, typed.column, typed.quoting)
        else:
            source = Lines() if typed.out is None else Kept(Path(scratch))
        if typed.out is None:
            _to_output(typed, source)
        else:
            _to_file(typed, source)


def _to_file(typed: argparse.Namespace, source: Source) -> None:
    from lrsl import fingerprint  # noqa: PLC0415
    from lrsl.plugin.output import Output  # noqa: PLC0415
    from lrsl.run.finished import MADE_OF  # noqa: PLC0415
    from lrsl.run.results import RESULTS  # noqa: PLC0415

    left = [typed.run / name for name in (RESULTS, MADE_OF) if (typed.run / name).is_file()]
    total = source.count() or 0
    made_of = {
        "run": [fingerprint.sha256(path) for path in left],
        "texts": source.fingerprint(),
        "flags": {name: getattr(typed, name) for name in ("column", "quoting", "k", "at_once")},
    }
    with Output.opened(typed.out, made_of, total) as output:
        if not output.whole:
            _fill(typed, output, source, total)
        answering.tell(output)


def _fill(typed: argparse.Namespace, output: Output, source: Source, total: int) -> None:
    reopened = _reopened(typed)
    found = islice(iter(source), output.rows, None)
    progress = answering.Progress(output.rows, total, quiet=typed.quiet)
    answering.fill(
        output,
        _chunks(found, typed.at_once),
        lambda chunk, start: answering.answered(lambda: reopened.answers(chunk, typed.k), start, len(chunk)),
        progress,
    )


def _to_output(typed: argparse.Namespace, source: Source) -> None:
    total = source.count()
    from lrsl.plugin.output import json_row  # noqa: PLC0415  (torch, now that there is something to answer)

    reopened, rows = _reopened(typed), 0
    progress = answering.Progress(0, total, quiet=typed.quiet or sys.stdout.isatty())
    for chunk in _chunks(iter(source), typed.at_once):
        answers = answering.answered(lambda chunk=chunk: reopened.answers(chunk, typed.k), rows, len(chunk))  # type: ignore[misc]
        for row, answer in enumerate(answers, rows):
            sys.stdout.write(json_row(row, answer).decode())
        sys.stdout.flush()
        rows += len(chunk)
        progress.show(rows)
    progress.end(rows)


def _reopened(typed: argparse.Namespace) -> RerankedFunction:
    from lrsl.run.reopened import reopen  # noqa: PLC0415

    return reopen(typed.run)


def _chunks(texts: Iterator[str], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(texts, size)):
        yield chunk
