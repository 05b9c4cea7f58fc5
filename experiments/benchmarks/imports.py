"""How long a command takes to say its first line, and what it loads on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from experiments.benchmarks.plan import Figure, Plan, Section
from experiments.benchmarks.turns import repeatedly
from experiments.benchmarks.workload import ROOT

ABOUT = """\
Whole processes, from their start to the first line they print, in turn."""
COMMANDS = {
    "lrsl --help": (("-m", "lrsl", "--help"), 0.3),
    "lrsl run --help": (("-m", "lrsl", "run", "--help"), 0.3),
    "lrsl run, to its first line": (("-m", "lrsl", "run", "logger=csv"), 1.5),
}


def measure(plan: Plan) -> Section:
    """Return the seconds to the first line of each command."""
    with tempfile.TemporaryDirectory() as folder:
        works = {name: lambda words=words: first_line(words, folder) for name, (words, _) in COMMANDS.items()}
        seconds = repeatedly(works, plan.repeats, plan.now)
    figures = [Figure(f"`{name}`", seconds[name], at_most=most, unit="s") for name, (_, most) in COMMANDS.items()]
    return Section(ABOUT, figures)


def first_line(words: tuple[str, ...], folder: str) -> str:
    """Start a command, end it after its first line, and return that."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    return line
