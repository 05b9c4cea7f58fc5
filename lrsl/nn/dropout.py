"""Dropout that a CPU draws quickly: one random number of 64 bits decides on four values.

PyTorch draws a number for each value, which takes up to two fifths of a training step on a CPU. Elsewhere these are
PyTorch's own functions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

ATTENTION = "quick"
"""The name under which transformers knows `attention`."""

LEVELS = 1 << 16


def dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    """Return x with values set to 0 with probability p, to within 2⁻¹⁷, and the others scaled by 1 / (1 - p)."""
    if not training or p == 0 or x.device.type != "cpu" or not x.is_floating_point():
        return F.dropout(x, p, training)
    drawn = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), 2**63 - 1)
    kept = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= round(p * LEVELS) - LEVELS // 2
    return x * kept.to(x.dtype).mul_(1 / (1 - p))


class QuickDropout(nn.Dropout):
    """`nn.Dropout` by `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x with values dropped in training."""
        return dropout(x, self.p, training=self.training)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Return scaled dot-product attention `(n, tokens, heads, d)` and its weights, as transformers asks for it."""
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.mT
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = _drop(scores.softmax(dim=-1).to(value.dtype), dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


_drop = dropout  # transformers calls the probability by the same name
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)


def quicken(network: nn.Module) -> None:
    """Let a network drop out quickly, and attend by `attention` if it can; what it computes stays the same.

    Args:
        network: changed in place; its parameters and their names stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p).train(child.training))
    for module in network.modules():
        if isinstance(module, PreTrainedModel):
            try:
                module.set_attn_implementation(ATTENTION)
            except (ValueError, ImportError):  # it knows its own ways only
                continue
