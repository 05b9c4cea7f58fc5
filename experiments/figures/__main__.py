"""Draw the paper's figures from runs, risk and cost curves, and when reranking pays.

python -m experiments.figures [FOLDER...] [--out DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.figures import plates, style
from experiments.figures.plate import chinese_missing, save
from experiments.runs.collect import collect, given_or_default, left
from experiments.runs.configurations import configurations
from lrsl.config import place
from lrsl.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write every figure the runs have what it takes for, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("figures"),
        description=(
            "Draw the paper's figures 1b, 4 and 10, 5 and 11, 6, 7 and 9 from runs, risk-coverage and cost curves, and "
            "what is gained with how many training samples, as SVG and PNG."
        ),
        epilog=f"example: {place.typed('figures')} multirun_outputs --out figures",
    )
    parser.add_argument("folder", nargs="*", type=Path, help=f"default: {', '.join(map(str, left()))}")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("outputs/figures"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        drawn = plates(configurations(collect(given_or_default(given.folder))))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    for plate in drawn:
        paths = save(plate, given.out) if plate.panels else []
        print(f"{plate.title}: {', '.join(map(str, paths)) or 'not drawn'}")
        for sentence in plate.notes:
            print(f"  {sentence}")
    if chinese_missing(drawn):
        print(style.NO_CHINESE, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
