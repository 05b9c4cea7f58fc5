"""Labels that a view has not scored."""

from __future__ import annotations

import torch
from torch import Tensor


def without_gaps(scores: Tensor) -> Tensor:
    """Return scores `(n, classes)` where NaN, a label nothing is known of, has become the smallest score of its row.

    A row of which nothing is known is 0 throughout.
    """
    unknown = scores.isnan()
    if not unknown.any():
        return scores
    least = scores.masked_fill(unknown, torch.inf).amin(-1, keepdim=True)
    return scores.where(~unknown, least.where(least.isfinite(), 0))
