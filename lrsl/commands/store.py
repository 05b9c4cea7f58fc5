"""List and prune the results of stages.

lrsl store
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lrsl.config import place
from lrsl.errors import InputError, nearest
from lrsl.run.store import FOLDER, STAGES, VARIABLE, Entry, entries, remove
from lrsl.screen import literal


def main(arguments: list[str] | None = None) -> int:
    """List the store, or prune it, and return the exit status."""
    parser = _Parser(prog=place.typed("store"), description="List or prune the results of stages.")
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
        stored = list(entries(chosen.dir))
        if chosen.command != "prune":
            show(stored, chosen.dir)
            return 0
        _check(chosen, stored)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    gone = [entry for entry in _doomed(stored, chosen) if remove(entry)]
    print(f"removed {len(gone)} of {len(stored)} results, {decimal(sum(entry.bytes for entry in gone))}")
    return 0


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
    known = sorted({*STAGES, *(entry.stage for entry in stored)})
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


def _doomed(stored: list[Entry], chosen: argparse.Namespace) -> list[Entry]:
    if chosen.stage is not None:
        stored = [entry for entry in stored if entry.stage == chosen.stage]
    if chosen.unused_for is not None:
        before = time.time() - 86400 * chosen.unused_for
        stored = [entry for entry in stored if entry.used < before]
    if chosen.keep is not None:
        left = sum(entry.bytes for entry in stored)
        doomed = []
        for entry in stored:
            if left <= chosen.keep * 1e9:
                break
            doomed.append(entry)
            left -= entry.bytes
        return doomed
    return stored


def show(stored: list[Entry], folder: Path, console: Console | None = None) -> None:
    """Print what is in the store, and what it comes to."""
    table = Table()
    for heading in ("stage", "key", "of"):
        table.add_column(heading)
    for heading in ("size", "last used"):
        table.add_column(heading, justify="right")
    for entry in stored:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        table.add_row(*map(literal, (entry.stage, entry.place.name, entry.about, decimal(entry.bytes), used)))
    console = console or Console()
    if stored:
        console.print(table)
    total = decimal(sum(entry.bytes for entry in stored))
    console.print(literal(f"{folder}: {len(stored)} results, {total}"), soft_wrap=True)
