"""Write the report of each sweep.

python -m experiments.report [FOLDER...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.report import write
from lrsl.config import place
from lrsl.errors import InputError

SWEEPS = Path("multirun_outputs/sweeps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("report"),
        description="Write a sweep's report: one HTML file beside its summary.",
        epilog=f"example: {place.typed('report')} multirun_outputs/sweeps/SWEEP",
    )
    parser.add_argument("folder", nargs="*", type=Path, help=f"sweeps or folders of runs (default: all in {SWEEPS})")
    folders = parser.parse_args(arguments).folder or sorted(path for path in SWEEPS.glob("*") if path.is_dir())
    if not folders:
        print(f"{SWEEPS} holds no sweep; run one, or name a folder of runs", file=sys.stderr)
        return 1
    for folder in folders:
        try:
            path = write(folder)
        except InputError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
