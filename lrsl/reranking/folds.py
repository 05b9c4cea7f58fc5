"""Held-out rows in turns: what is learnt on some is looked at on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lrsl.text import folded

SEED = 0  # of the order in which rows are dealt out: the same rows give the same folds


def folds(
    n: int, number: int, alike: Tensor | None = None, labels: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give, for each of a number of folds, the rows to learn on and the rows to look at, both in ascending order.

    Every row is looked at once. There are no more folds than rows.

    Args:
        n: number of rows.
        number: number of folds, at least 2.
        alike: of each row the first with the same text, `(n,)`, where these are to be kept together (`first_alike`).
            Any numbers will do that are the same for the same text.
        labels: those of the rows, `(n,)`, where what is learnt takes two.
    """
    dealt = torch.empty(n, dtype=torch.int64)
    dealt[torch.randperm(n, generator=torch.Generator().manual_seed(SEED))] = torch.arange(n) % number
    if alike is not None:
        dealt = together(dealt, alike, labels)
    for fold in dealt.unique().tolist():
        yield (dealt != fold).nonzero().flatten(), (dealt == fold).nonzero().flatten()


def together(dealt: Tensor, alike: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the fold of each row, `(n,)`, rows that are alike being in the fold of the first of them.

    So what is learnt on the other folds has not seen the text. Where these would be empty or, with labels `(n,)`, have
    one label alone, as where all rows of one of two labels are of one text, nothing is changed.
    """
    _, text = alike.cpu().unique(return_inverse=True)
    rows = torch.arange(len(text))
    kept = dealt[torch.full_like(rows, len(rows)).scatter_reduce(0, text, rows, "amin")[text]]
    least = 1 if labels is None else 2
    numbers = torch.zeros_like(kept) if labels is None else labels
    learnable = all(len(numbers[kept != fold].unique()) >= least for fold in kept.unique())
    return kept if learnable else dealt


def first_alike(texts: Sequence[str]) -> Tensor:
    """Return, for each text, the number of the first that is the same, capitals and white space aside, `(n,)`."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(folded(text), row) for row, text in enumerate(texts)], dtype=torch.int64)
