"""Held-out rows in turns: what is learnt on some is looked at on the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SEED = 0  # of the order in which rows are dealt out: the same rows give the same folds


def folds(n: int, number: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give, for each of a number of folds, the rows to learn on and the rows to look at, both in ascending order.

    Every row is looked at once. There are no more folds than rows.

    Args:
        n: number of rows.
        number: number of folds, at least 2.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(SEED))
    for fold in range(min(number, n)):
        looked_at = torch.zeros(n, dtype=torch.bool)
        looked_at[order[fold::number]] = True
        yield (~looked_at).nonzero().flatten(), looked_at.nonzero().flatten()
