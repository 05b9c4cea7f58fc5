"""What fusions of the logits with a single view have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def ranked_by_one_view(
    whose: str, logits: Tensor, scores: Sequence[Tensor], rank: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return what a formula for one view makes of logits `(n, classes)`.

    Labels that the view has not scored come after those that it has, in the classifier's order.

    Args:
        whose: the fusion, as a message names it.
        logits: the classifier's, `(n, classes)`.
        scores: the view's, `(n, classes)`, NaN for labels that it has not scored.
        rank: the formula, for logits and scores without NaN.

    Raises:
        ValueError: there is not exactly one view.
    """
    score = the_one_view(whose, scores)
    scored = ~score.isnan()
    if scored.all():
        return rank(logits, score)
    ranked = rank(logits, score.where(scored, 0))
    least = ranked.masked_fill(~scored, torch.inf).amin(-1, keepdim=True)
    others = least - 1 + logits.softmax(-1, dtype=ranked.dtype)
    return ranked.where(scored, others)


def the_one_view(whose: str, scores: Sequence[Tensor]) -> Tensor:
    """Return the scores of the only view.

    Raises:
        ValueError: there is not exactly one.
    """
    if len(scores) != 1:
        raise ValueError(f"{whose} joins the logits with one view, and there are {len(scores)}")
    return scores[0]
