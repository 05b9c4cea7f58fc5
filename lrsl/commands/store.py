"""List and prune the results of stages.

lrsl store
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lrsl import files
from lrsl.config import place
from lrsl.errors import InputError, nearest, said
from lrsl.run.store import FOLDER, STAGES, VARIABLE, Entry, entries, remove, remove_locks, unfinished
from lrsl.screen import Screen, literal


def main(arguments: list[str] | None = None) -> int:
    """List the store, or prune it, and return the exit status."""
    parser = _Parser(
        prog=place.typed("store"),
        description="List or prune the results of stages.",
        epilog=f"example: {place.typed('store')} prune --unused-for 30",
    )
    default = os.environ.get(VARIABLE, FOLDER)
    parser.add_argument("--dir", type=Path, default=Path(default), help="the store (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list what is there, with sizes (the default)")
    prune = commands.add_parser("prune", help="remove what is chosen; runs that used it keep their files")
    prune.add_argument("--unused-for", metavar="DAYS", help="what no run has used for so many days")
    prune.add_argument("--stage", metavar="STAGE", help="results of this stage only, such as classifier")
    prune.add_argument("--keep", metavar="GB", help="the longest unused, until this much is left")
    prune.add_argument("--all", action="store_true", help="everything")
    try:
        chosen = parser.parse_args(arguments)
        stored, others = list(entries(chosen.dir)), list(unfinished(chosen.dir))
        if chosen.command != "prune":
            show(stored, chosen.dir, others=others)
            return 0
        _check(chosen, [*stored, *others])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        make_room(chosen.dir, stored, _doomed(stored, chosen), [other for other in others if _goes(other, chosen)])
    except OSError as error:
        print(said(files.trouble(error, [chosen.dir]) or f"{chosen.dir}: {error}"), file=sys.stderr)
        return 1
    return 0


def make_room(folder: Path, stored: list[Entry], doomed: list[Entry], others: list[Entry]) -> None:
    """Remove results and what is left of others, and say what is gone and what has to stay.

    Args:
        folder: the store.
        stored: all its results.
        doomed: those to be removed.
        others: what is no result and to be removed.
    """
    gone = [entry for entry in doomed if remove(entry)]
    rest = [entry for entry in others if remove(entry)]
    remove_locks(folder)
    print(f"removed {len(gone)} of {len(stored)} results, {decimal(_bytes(gone))}")
    if rest:
        print(f"removed what was unfinished, {decimal(_bytes(rest))}")
    if len(gone) < len(doomed):
        print(f"{len(doomed) - len(gone)} of them are in use by runs, and stay")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Refuse what was typed."""
        raise InputError(f"{message}; {self.prog} --help says what can be typed")


def _check(chosen: argparse.Namespace, stored: list[Entry]) -> None:
    """Turn what chooses into numbers, and refuse what would not choose what was meant.

    Raises:
        InputError: nothing chooses, everything and something is chosen, a number is none or below 0, or there is no
            such stage.
    """
    if not chosen.all and (chosen.stage, chosen.unused_for, chosen.keep) == (None, None, None):
        raise InputError("prune needs to know what to remove; give --unused-for, --keep, --stage or --all")
    chosen.unused_for = _number("--unused-for", chosen.unused_for, "days")
    chosen.keep = _number("--keep", chosen.keep, "gigabytes")
    known = sorted({*STAGES, *(entry.stage for entry in stored if not entry.stage.startswith("."))})
    if chosen.stage is not None and chosen.stage not in known:
        raise InputError(
            f"--stage={chosen.stage} is no stage{nearest(chosen.stage, known)}; choose one of {', '.join(known)}"
        )
    if chosen.all and (chosen.stage, chosen.unused_for, chosen.keep) != (None, None, None):
        raise InputError("--all removes everything, and what else is given would spare some; give one or the other")


def _number(flag: str, given: str | None, unit: str) -> float | None:
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(f"{flag}={given} removes nothing; it must be a number of {unit}, 0 or more")
    return value


def _goes(entry: Entry, chosen: argparse.Namespace) -> bool:
    """Tell whether what is no result goes: of trainings that can go on, old ones, or all where all is to go."""
    if entry.state != "training":
        return entry.state == "left"
    if chosen.stage not in (None, entry.stage):
        return False
    old = chosen.unused_for is not None and entry.used < time.time() - 86400 * chosen.unused_for
    return bool(chosen.all or old)


def _bytes(of: list[Entry]) -> int:
    return sum(entry.bytes for entry in of)


def _doomed(stored: list[Entry], chosen: argparse.Namespace) -> list[Entry]:
    if chosen.stage is not None:
        stored = [entry for entry in stored if entry.stage == chosen.stage]
    if chosen.unused_for is not None:
        before = time.time() - 86400 * chosen.unused_for
        stored = [entry for entry in stored if entry.used < before]
    if chosen.keep is not None:
        left = _bytes(stored)
        doomed = []
        for entry in stored:
            if left <= chosen.keep * 1e9:
                break
            doomed.append(entry)
            left -= entry.bytes
        return doomed
    return stored


def show(stored: list[Entry], folder: Path, console: Console | None = None, *, others: Sequence[Entry] = ()) -> None:
    """Print what is in the store, results before what is none, and what it comes to."""
    table = Table()
    for heading in ("stage", "key", "of"):
        table.add_column(heading)
    for heading in ("size", "last used"):
        table.add_column(heading, justify="right")
    for entry in (*stored, *others):
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        table.add_row(*map(literal, (entry.stage, entry.place.name, entry.about, decimal(entry.bytes), used)))
    console = console or Screen()
    if stored or others:
        console.print(table)
    total = decimal(_bytes(stored))
    console.print(literal(f"{folder}: {len(stored)} results, {total}"), soft_wrap=True)
    for state, told in (("training", "of trainings that can go on"), ("left", "left by runs that were killed")):
        if found := [entry for entry in others if entry.state == state]:
            console.print(literal(f"{decimal(_bytes(found))} {told}"), soft_wrap=True)
