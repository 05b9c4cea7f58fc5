"""Samples dealt into folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lrsl.errors import InputError
from lrsl.text import folded


def deal(texts: Sequence[str], labels: Sequence[int], number: int, seed: int) -> list[list[int]]:
    """Return the rows of each fold in ascending order; every row is in one of them, and none of them is empty.

    Rows of the same text, capitals and white space aside, are in the same fold, so that what is learnt on the other
    folds has not seen it. The folds have equal shares of each label to within one row, as far as such texts let them.

    Args:
        texts: the text of each row.
        labels: the label of each row.
        number: number of folds, at least 2.
        seed: chooses which rows go together; the same ones on every platform.

    Raises:
        InputError: there are fewer texts than folds.
    """
    alike: dict[str, list[int]] = {}
    for row in np.random.Generator(np.random.PCG64(seed)).permutation(len(texts)).tolist():
        alike.setdefault(folded(texts[row]), []).append(row)
    if len(alike) < number:
        raise InputError(
            f"reranker.folds={number} is too large; the {len(texts)} training and validation samples have "
            f"{len(alike)} different texts, and every fold needs one"
        )
    folds: list[list[int]] = [[] for _ in range(number)]
    dealt: Counter[tuple[int, int]] = Counter()  # rows by fold and label
    for rows in sorted(alike.values(), key=lambda rows: (-len(rows), labels[rows[0]])):  # the largest are placed first
        counts = Counter(labels[row] for row in rows)
        load = [sum(n * dealt[fold, label] for label, n in counts.items()) for fold in range(number)]
        fold = min(range(number), key=lambda fold: (load[fold], len(folds[fold]), fold))
        folds[fold] += rows
        dealt.update({(fold, label): n for label, n in counts.items()})
    return [sorted(rows) for rows in folds]
