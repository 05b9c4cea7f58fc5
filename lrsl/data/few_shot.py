"""A corpus with a few samples of each label to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lrsl.data.corpus import Corpus, Split


def few_shot(corpus: Corpus, per_class: int, seed: int) -> Corpus:
    """Return the corpus with at most so many samples of each label in train, and as many in validation.

    Test stays as it is. What is drawn for a smaller number is part of what is drawn for a larger one.

    Args:
        corpus: the data.
        per_class: number of samples per label, at least 1; a label that has fewer keeps them all.
        seed: chooses which; the same ones on every platform.
    """
    return replace(
        corpus, train=_drawn(corpus.train, per_class, [seed, 0]), val=_drawn(corpus.val, per_class, [seed, 1])
    )


def _drawn(split: Split, per_class: int, seed: list[int]) -> Split:
    left = dict.fromkeys(split.labels, per_class)
    rows = []
    for row in np.random.Generator(np.random.PCG64(seed)).permutation(len(split)).tolist():
        if left[split.labels[row]]:
            left[split.labels[row]] -= 1
            rows.append(row)
    return split.take(sorted(rows))
