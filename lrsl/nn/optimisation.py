"""The optimiser and the learning-rate schedule of every training."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_linear_schedule_with_warmup


def adamw(
    groups: list[dict[str, Any]], *, weight_decay: float, steps: int, warmup: float
) -> tuple[torch.optim.AdamW, LambdaLR]:
    """Return fused AdamW, and a schedule that raises its learning rate over `warmup` of the steps, then lowers it to 0.

    Args:
        groups: parameter groups, each with its `params` and its peak `lr`.
        weight_decay: decoupled weight decay; with 0 this is Adam.
        steps: all optimiser steps of the training; the schedule moves once per step.
        warmup: share of the steps over which the learning rate rises.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    return optimizer, get_linear_schedule_with_warmup(optimizer, int(warmup * steps), steps)


def trainable(parameters: Any) -> list[torch.nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in parameters if parameter.requires_grad]
