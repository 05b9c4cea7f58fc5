"""What `lrsl rerank` and `lrsl predict` have in common: answers a chunk at a time, and how far it is."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lrsl.errors import InputError

if TYPE_CHECKING:
    from lrsl.plugin.output import Output

EVERY = 10.0
"""Seconds between two lines of progress; a second where somebody watches."""


def fill(output: Output, chunks: Iterable[Any], answer: Callable[[Any, int], list[Any]], progress: Progress) -> None:
    """Write the answers to chunks of rows, the first of which follows those that are sure, and give the file its name.

    Args:
        output: where they go.
        chunks: what is answered, some rows at a time.
        answer: gives the answers to a chunk, and is told the number of its first row.
        progress: is shown.
    """
    if output.rows:
        print(f"going on after row {output.rows:,}", file=sys.stderr)
    try:
        for chunk in chunks:
            output.add(answer(chunk, output.rows))
            progress.show(output.rows)
    except KeyboardInterrupt:
        print(f"\n{output.rows:,} rows are kept; the same command goes on after them", file=sys.stderr)
        raise
    progress.end(output.rows)
    output.finish()


def tell(output: Output) -> None:
    """Print what a file of answers has come to."""
    share = f"{output.hard / max(output.rows, 1):.1%}"
    print(f"{output.path}: {output.rows:,} rows, {share} hard; {output.changed:,} answers are not the classifier's")


_warned: set[str] = set()


def answered(ask: Callable[[], list[Any]], start: int, many: int) -> list[Any]:
    """Return the answers to some rows, and let each kind of warning be seen once.

    Raises:
        InputError: they cannot be answered; it says which rows these are.
    """
    where = f"rows {start:,} to {start + many - 1:,}"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answers = ask()
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    for warning in caught:
        kind = str(warning.message).rpartition(" are longer")[2]
        if kind not in _warned:
            _warned.add(kind)
            print(f"{where}: {warning.message}", file=sys.stderr)
    return list(answers)


class Progress:
    """Rows, rows per second and the time that is left, where it is known how many rows there are, on stderr."""

    def __init__(self, start: int, total: int | None, *, quiet: bool, what: str = "rows") -> None:
        self.start, self.total, self.quiet, self.what = start, total, quiet, what
        self.began = self.shown = time.monotonic()
        self.watched = sys.stderr.isatty()

    def show(self, rows: int) -> None:
        """Show how far it is, unless that was shown a moment ago."""
        now = time.monotonic()
        if self.quiet or now - self.shown < (1.0 if self.watched else EVERY):
            return
        self.shown = now
        rate = (rows - self.start) / max(now - self.began, 1e-9)
        line = f"{rows:,} {self.what}, {rate:,.0f}/s"
        if self.total is not None:
            minutes, seconds = divmod(round((self.total - rows) / rate), 60)
            line = f"{rows:,} of {self.total:,} {self.what}, {rate:,.0f}/s, {minutes}:{seconds:02} left"
        print(f"\r{line:<70}" if self.watched else line, end="" if self.watched else "\n", file=sys.stderr, flush=True)

    def leave(self) -> None:
        """Leave no line behind that is only of the moment."""
        if self.watched and self.shown > self.began:
            print(f"\r{'':<70}\r", end="", file=sys.stderr, flush=True)

    def end(self, rows: int) -> None:
        """Show what it came to."""
        if self.quiet:
            return
        seconds, done = time.monotonic() - self.began, rows - self.start
        line = f"{done:,} {self.what} in {seconds:,.1f} s, {done / max(seconds, 1e-9):,.0f}/s"
        print(f"\r{line:<70}" if self.watched else line, file=sys.stderr)
