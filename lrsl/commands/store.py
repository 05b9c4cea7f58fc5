"""List and prune the results of stages.

lrsl store
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lrsl.config import place
from lrsl.run.store import FOLDER, VARIABLE, Entry, entries, remove
from lrsl.screen import literal


def main(arguments: list[str] | None = None) -> int:
    """List the store, or prune it, and return the exit status."""
    parser = argparse.ArgumentParser(prog=place.typed("store"), description="List or prune the results of stages.")
    default = os.environ.get(VARIABLE, FOLDER)
    parser.add_argument("--dir", type=Path, default=Path(default), help="the store (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="list what is there, with sizes (the default)")
    prune = commands.add_parser("prune", help="remove what is chosen; runs that used it keep their files")
    prune.add_argument("--unused-for", type=float, metavar="DAYS", help="what no run has used for so many days")
    prune.add_argument("--stage", metavar="STAGE", help="results of this stage only, such as classifier")
    prune.add_argument("--keep", metavar="GB", type=float, help="the longest unused, until this much is left")
    prune.add_argument("--all", action="store_true", help="everything")
    chosen = parser.parse_args(arguments)
    stored = list(entries(chosen.dir))
    if chosen.command != "prune":
        show(stored, chosen.dir)
        return 0
    if not (chosen.all or chosen.stage or chosen.unused_for is not None or chosen.keep is not None):
        print("prune needs to know what to remove; give --unused-for, --keep, --stage or --all", file=sys.stderr)
        return 2
    gone = [entry for entry in _doomed(stored, chosen) if remove(entry)]
    print(f"removed {len(gone)} of {len(stored)} results, {decimal(sum(entry.bytes for entry in gone))}")
    return 0


def _doomed(stored: list[Entry], chosen: argparse.Namespace) -> list[Entry]:
    if chosen.stage:
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
