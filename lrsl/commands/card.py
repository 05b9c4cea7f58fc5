"""Print a data set's card.

python -m lrsl.data dataset=banking77 data_dir=FOLDER
"""

from __future__ import annotations

import argparse
import sys

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from lrsl.config import composition, mistakes
from lrsl.data.card import describe, show
from lrsl.data.load import load_corpus
from lrsl.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Print the card of the data set that the arguments choose, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lrsl.data",
        description="Print a data set's card: splits, lengths, labels, duplicates, licence and source.",
        epilog="Lengths are in words between spaces, or in characters in languages written without them.",
    )
    parser.add_argument("override", nargs="*", help="as for run.py: dataset=NAME data_dir=FOLDER dataset.KEY=VALUE")
    overrides = parser.parse_args(arguments).override
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            if override.is_sweep_override():
                raise InputError(f"{override.input_line} asks for several cards; ask for one at a time")
        with initialize_config_dir(str(composition.CONF), version_base="1.3"):
            config = composition.to_config(compose("config", overrides))
        card = describe(load_corpus(config.dataset, config.data_dir), config.dataset)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    except mistakes.COMPOSITION_ERRORS as error:
        print(mistakes.explain(error), file=sys.stderr)
        return 1
    show(card, Console())
    return 0
