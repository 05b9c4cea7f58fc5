"""What somebody should know of a corpus before anything is trained on it."""

from __future__ import annotations

import re

from lrsl.data.corpus import Corpus
from lrsl.text import folded, repeated

_SHOWN = 60  # characters of a text
_NUMBER = re.compile(r"((label|class|category|标签|类别|类)\s*[-:#]?\s*)?[-+#]?\d+([.,]\d+)?", re.IGNORECASE)
"""A text that is a number, or a number of a label, as `LABEL_3` made readable."""


def remarks(corpus: Corpus) -> list[str]:
    """Return sentences on what will likely be learnt wrongly; none where nothing is conspicuous."""
    return [*_contradictions(corpus), *_repeated(corpus), *_numbers(corpus)]


def _contradictions(corpus: Corpus) -> list[str]:
    """Return how many texts that are learnt from, by training or validation, have more than one label.

    Texts are the same when capitals and white space are left out of account.
    """
    labels: dict[str, dict[int, str]] = {}
    for split in (corpus.train, corpus.val):
        for text, label in zip(split.texts, split.labels, strict=True):
            labels.setdefault(folded(text), {}).setdefault(label, text)
    several = [of_text for of_text in labels.values() if len(of_text) > 1]
    if not several:
        return []
    first = several[0]
    names = " and ".join(f"'{corpus.labels[label]}'" for label in first)
    how_many = "1 text has" if len(several) == 1 else f"{len(several):,} texts have"
    return [
        f"{how_many} more than one label in training and validation, as '{_short(next(iter(first.values())))}' has "
        f"{names}; no classifier can get both right, so decide on one"
    ]


def _repeated(corpus: Corpus) -> list[str]:
    """Return how many validation texts have been trained on, where these are more than a hundredth of them."""
    known = repeated(corpus.val.texts, corpus.train.texts)
    if known <= len(corpus.val) / 100:
        return []
    return [
        f"{known:,} of {len(corpus.val):,} validation texts also stand in train, so that validation is too good to "
        "be true, and with it the threshold, the weights and the verdict; leave repeated texts out, or take "
        "reranker.folds=5, whose folds keep them together"
    ]


def _numbers(corpus: Corpus) -> list[str]:
    """Return how many labels have a number for a text, from which an embedding learns nothing of what they mean."""
    numbers = [text for text in corpus.label_texts if _NUMBER.fullmatch(text)]
    if not numbers:
        return []
    which = "all" if len(numbers) == len(corpus.labels) else f"{len(numbers):,} of {len(corpus.labels):,}"
    return [
        f"the texts of {which} labels are numbers, as '{numbers[0]}', which say nothing of what a label means; give "
        "each a text with dataset.label_texts=FILE, or name a column of texts with dataset.label_text"
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
