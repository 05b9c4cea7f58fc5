"""Print a data set's card.

lrsl card dataset=banking77 data_dir=FOLDER
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser

from lrsl.config import composition, own, place
from lrsl.config.schema import Config
from lrsl.data.card import describe, show
from lrsl.data.corpus import Corpus
from lrsl.data.load import load_corpus
from lrsl.errors import InputError
from lrsl.screen import Screen, literal


def main(arguments: list[str] | None = None) -> int:
    """Print the card of the data set that the arguments choose, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("card"),
        description="Print a data set's card: splits, lengths, labels, duplicates, licence and source.",
        epilog="Lengths are in words between spaces, or in characters in languages written without them; below it "
        "stands how many texts are longer than what model=NAME and embedding=NAME read of them. "
        f"Example: {place.typed('card')} dataset=banking77",
    )
    parser.add_argument("override", nargs="*", help="as for a run: dataset=NAME data_dir=FOLDER dataset.KEY=VALUE")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of your own, with dataset/NAME.yaml")
    given = parser.parse_args(arguments)
    overrides = given.override
    try:
        search_path = own.use(own.absolute(given.config_dir))
        with composition.in_a_sentence():
            parsed = OverridesParser.create().parse_overrides(overrides)
        for override in parsed:
            if override.is_sweep_override():
                raise InputError(f"{override.input_line} asks for several cards; ask for one at a time")
        config = composition.configured([*overrides, *search_path])
        corpus = load_corpus(config.dataset, config.data_dir)
        card = describe(corpus, config.dataset)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    console = Screen()
    show(card, console)
    for sentence in cut_off(config, corpus):
        console.print(literal(sentence), soft_wrap=True)
    return 0


def cut_off(config: Config, corpus: Corpus) -> Iterator[str]:
    """Yield what is cut off by the classifier and the embedding that are configured, or why that is not known."""
    from lrsl.run import truncation  # noqa: PLC0415  (torch, now that the data have been read)

    try:
        yield from truncation.sentences(truncation.truncated(config, corpus), corpus)
    except InputError as error:
        yield f"how many texts are cut off is not known: {error}"
