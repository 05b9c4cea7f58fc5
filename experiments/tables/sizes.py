"""Table 8: the data sets in numbers, from the cards of those that can be read here."""

from __future__ import annotations

from experiments.paper import Paper
from experiments.runs.portable import FOLDER
from experiments.tables.table import NOTHING, Section, Table
from lrsl.config import composition
from lrsl.data import load_corpus
from lrsl.data.card import DatasetCard, describe
from lrsl.errors import InputError

_COLUMNS = ["data set", "train / val / test, paper", "train / val / test, ours"]
_COLUMNS += ["mean length, paper", "mean length, ours", "labels, paper", "labels, ours"]
_LENGTH = (
    "The paper's lengths are in tokens, without saying whose; ours in words between spaces, or in characters in "
    "languages written without them, over train, val and test together."
)
_MORE = ("tsec3", "telecom34")
MISSING = "missing"


def table8(paper: Paper, data_dir: str | None) -> Table:
    """Return sizes, mean lengths and numbers of labels.

    Args:
        paper: the paper's numbers.
        data_dir: folder of local copies of the data sets; without one only those are read that need no files.
    """
    rows, notes = [], [_LENGTH]
    for name in (*paper.tables[8], *_MORE):
        theirs = paper.tables[8].get(name)
        title = paper.datasets.get(name, name)
        sizes = " / ".join(f"{theirs[part]:,}" for part in ("train", "val", "test")) if theirs else NOTHING
        length, labels = (f"{theirs[key]:,}" if theirs else NOTHING for key in ("length", "labels"))
        card_or_reason = card(name, data_dir)
        if isinstance(card_or_reason, DatasetCard):
            splits = " / ".join(f"{split.samples:,}" for split in card_or_reason.splits if split.labels is not None)
            ours = [splits, f"{card_or_reason.length.mean:,.1f} {card_or_reason.unit}", str(len(card_or_reason.labels))]
        else:
            ours = [MISSING] * 3
            notes.append(f"{title}: {MISSING}: {card_or_reason}.")
        rows.append([title, sizes, ours[0], length, ours[1], labels, ours[2]])
    return Table(8, "The data sets", _COLUMNS, [Section("", rows)], notes)


def card(name: str, data_dir: str | None) -> DatasetCard | str:
    """Return the card of a data set, or why there is none."""
    config = composition.configured([f"dataset={name}"]).dataset
    if config.reader != "telecom34" and not data_dir:  # nothing is fetched for a table
        return "the environment variable LRSL_DATA_DIR names no folder of local copies"
    try:
        return describe(load_corpus(config, data_dir), config)
    except InputError as error:
        return str(error).replace(data_dir or FOLDER, FOLDER)
