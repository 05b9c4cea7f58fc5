"""Print a data set's card.

lrsl card dataset=banking77 data_dir=FOLDER
"""

from __future__ import annotations

import argparse
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from lrsl.config import composition, mistakes, own, place
from lrsl.data.card import describe, show
from lrsl.data.load import load_corpus
from lrsl.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Print the card of the data set that the arguments choose, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("card"),
        description="Print a data set's card: splits, lengths, labels, duplicates, licence and source.",
        epilog="Lengths are in words between spaces, or in characters in languages written without them.",
    )
    parser.add_argument("override", nargs="*", help="as for a run: dataset=NAME data_dir=FOLDER dataset.KEY=VALUE")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of your own, with dataset/NAME.yaml")
    given = parser.parse_args(arguments)
    overrides = given.override
    try:
        search_path = own.use(own.absolute(given.config_dir))
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override():
                raise InputError(f"{override.input_line} asks for several cards; ask for one at a time")
        config = composition.configured([*overrides, *search_path])
        card = describe(load_corpus(config.dataset, config.data_dir), config.dataset)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except mistakes.COMPOSITION_ERRORS as error:
        print(mistakes.explain(error), file=sys.stderr)
        return 1
    show(card, Console())
    return 0
