"""How long things take on a CPU, each over something that takes turns with it; written into results.md.

python -m experiments.benchmarks
python -m experiments.benchmarks --section embedding --profile
python -m experiments.benchmarks --full

Banking-77 is read from the folder that LRSL_DATA_DIR names; without it, what needs it is left out and named.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrsl.nn import threads

threads.prepare()  # before torch is loaded, as for a run

from experiments.benchmarks import report  # noqa: E402
from experiments.benchmarks.plan import CLOCKS, Plan  # noqa: E402
from lrsl.run.commit import commit  # noqa: E402

SECTIONS = (
    *("core", "embedding", "classifier", "overhead", "reranking", "inference"),
    *("stages", "door", "imports", "growth", "busy"),
)
"""Modules of this package, each with a function `measure` that takes a `Plan` and returns a `Section`."""


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, write it down, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description="Measure on a CPU.")
    parser.add_argument(
        "--section", choices=SECTIONS, action="append", help="this one only; may be given several times"
    )
    parser.add_argument("--full", action="store_true", help="all data and all epochs: hours instead of minutes")
    parser.add_argument("--profile", action="store_true", help="also look into our training steps")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for a machine that is busy with other work",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of results.md")
    asked = parser.parse_args(arguments)
    everything: dict[str, Any] = dict.fromkeys(("texts", "questions", "calls", "held_out", "answers", "epochs"))
    plan = Plan(**(everything if asked.full else {}), clock=asked.clock, profile=asked.profile)
    options = [word for word in ("--full", "--profile") if getattr(asked, word.removeprefix("--"))]
    commit()  # before the results, which are in the repository, change
    for name in asked.section or SECTIONS:
        measure(name, plan, options, asked.out)
    print(f"written: {asked.out / report.PAGE}")
    return 0


def measure(name: str, plan: Plan, options: Sequence[str], folder: Path) -> None:
    """Measure one section, keep what it came to, and print it."""
    start = time.perf_counter()
    section = importlib.import_module(f"experiments.benchmarks.{name}").measure(plan)
    clock = [] if plan.clock == "wall" else [f"--clock {plan.clock}"]
    command = " ".join(["python -m experiments.benchmarks", f"--section {name}", *options, *clock])
    report.keep(name, section, plan, command, folder)
    print(f"{name}, measured in {time.perf_counter() - start:.0f} s", flush=True)
    for figure in section.figures:
        measured = " ".join(report.row(figure)[1:6]) if figure.values else "not measured"
        print(f"  {figure.name}: {measured}  {figure.note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
