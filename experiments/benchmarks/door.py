"""How long `python run.py --help` takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.benchmarks.plan import Figure, Plan, Section, quotients
from experiments.benchmarks.turns import repeatedly
from experiments.benchmarks.workload import ROOT

ABOUT = """\
Whole processes, in turn: `python run.py --help`, and `--help` of a Hydra program that does nothing."""
PROGRAM = """\
import hydra


@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass


if __name__ == "__main__":
    main()
"""


def measure(plan: Plan) -> Section:
    """Return the time of our help over that of the least program's."""
    with tempfile.TemporaryDirectory() as scratch:
        least = Path(scratch) / "least.py"
        least.write_text(PROGRAM, encoding="utf-8")
        programs = {"ours": ROOT / "run.py", "least": least}
        seconds = repeatedly(
            {name: lambda path=path: show_help(path, Path(scratch)) for name, path in programs.items()},  # type: ignore[misc]
            plan.repeats,
            plan.now,
        )
    ratios = quotients(seconds["ours"], seconds["least"])
    return Section(ABOUT, [Figure("`python run.py --help` over the least Hydra program's", ratios, at_most=1.3)])


def show_help(program: Path, folder: Path) -> None:
    """Run a program with `--help`."""
    subprocess.run([sys.executable, str(program), "--help"], cwd=folder, capture_output=True, check=True)
