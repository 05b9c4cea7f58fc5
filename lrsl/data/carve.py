"""A validation or test split carved off the training samples."""

from __future__ import annotations

import numpy as np

from lrsl.errors import InputError


def carve(labels: list[int], fraction: float, seed: int, split: str = "val") -> tuple[list[int], list[int]]:
    """Return the rows that stay in train and those that become another split, both in ascending order.

    Stratified by largest remainders: each class gives its share of `round(fraction * n)` rows to within one row, as
    far as it can, since every class keeps at least one row in train. Where that leaves too few rows to give, the
    split is as large as it can be. It is never empty. (scikit-learn's split refuses a class with one sample.)

    Args:
        labels: the class of each row.
        fraction: share of the rows that is carved off, between 0 and 1.
        seed: chooses which rows of a class are taken; the same ones on every platform.
        split: what is carved off, `val` or `test`, for the error.

    Raises:
        InputError: no class has two rows.
    """
    rows_of: dict[int, list[int]] = {label: [] for label in sorted(set(labels))}
    for row in np.random.Generator(np.random.PCG64(seed)).permutation(len(labels)).tolist():
        rows_of[labels[row]].append(row)
    most = len(labels) - len(rows_of)
    if most == 0:
        raise InputError(
            f"no {'validation' if split == 'val' else split} can be carved off the {len(labels)} training samples, "
            f"since no label has two; give dataset.{split}=FILE"
        )
    total = min(max(round(fraction * len(labels)), 1), most)
    taken = _shares([len(rows) for rows in rows_of.values()], total)
    carved = {row for rows, count in zip(rows_of.values(), taken, strict=True) for row in rows[:count]}
    return [row for row in range(len(labels)) if row not in carved], sorted(carved)


def _shares(sizes: list[int], total: int) -> list[int]:
    """Share `total` out in proportion to the sizes by largest remainders, with at least one of each size kept back."""
    n = sum(sizes)
    taken = [min(total * size // n, size - 1) for size in sizes]
    while (missing := total - sum(taken)) > 0:
        room = [i for i, size in enumerate(sizes) if taken[i] < size - 1]
        room.sort(key=lambda i: taken[i] * n - total * sizes[i])  # the largest remainder first, in whole numbers
        for i in room[:missing]:
            taken[i] += 1
    return taken
