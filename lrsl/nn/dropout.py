"""Dropout that a CPU draws quickly: one random number of 64 bits decides on four values.

PyTorch draws a number for each value, which takes up to two fifths of a training step on a CPU. Elsewhere these are
PyTorch's own functions.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.bert import modeling_bert

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
    **more: Any,
) -> tuple[Tensor, Tensor]:
    """Return scaled dot-product attention `(n, tokens, heads, d)` and its weights, as transformers asks for it.

    What is asked for with more than these arguments is left to the library's own function for the module.
    """
    if not _is_plain(query, key, attention_mask, more):
        whole: tuple[Tensor, Tensor] = _own(type(module))(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **more
        )
        return whole
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.mT
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = _drop(scores.softmax(dim=-1).to(value.dtype), dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


_drop = dropout  # transformers calls the probability by the same name
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)


_NO_MATTER = {"is_causal", "use_cache", "position_ids", "cache_position", "return_dict"}
"""Arguments that are passed along, and change nothing where the mask says who sees whom."""


def _is_plain(query: Tensor, key: Tensor, attention_mask: Tensor | None, more: dict[str, Any]) -> bool:
    """Tell whether nothing is asked for but softmax(scaling · query · keyᵀ + mask) · value, head by head."""
    as_added = attention_mask is None or (attention_mask.ndim == 4 and attention_mask.is_floating_point())
    asked = {name for name, value in more.items() if value is not None and value is not False} - _NO_MATTER
    return as_added and not asked and query.shape[1] == key.shape[1] and not more.get("is_causal")


def _own(made: type[nn.Module]) -> Callable[..., Any]:
    """Return the attention in plain torch that transformers has for the modules of a class."""
    function: Callable[..., Any] = vars(sys.modules[made.__module__])["eager_attention_forward"]
    return function


@functools.cache
def _body(function: Callable[..., Any]) -> str:
    """Return what a function does, names and comments of its signature aside; empty where its source is not there."""
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return ""
    return "\n".join(map(ast.dump, getattr(definition, "body", [])))


def attends_as_bert(network: nn.Module) -> bool:
    """Tell whether all attention in a network is BERT's, word for word, which is what `attention` computes.

    Others cap their scores, share key heads, add a bias or a sink, or compute attention in a way of their own.
    """
    modules = {type(module).__module__ for module in network.modules()}
    own = [vars(sys.modules[name]).get("eager_attention_forward") for name in modules if "transformers" in name]
    bodies = {_body(function) for function in own if function is not None}
    return bool(bodies) and bodies == {_body(modeling_bert.eager_attention_forward)} - {""}


def quicken(network: nn.Module) -> None:
    """Let a network drop out quickly, and attend by `attention` where that is its own; what it computes stays the same.

    Args:
        network: changed in place; its parameters and their names stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, QuickDropout(child.p).train(child.training))
    for module in network.modules():
        if isinstance(module, PreTrainedModel) and attends_as_bert(module):
            try:
                module.set_attn_implementation(ATTENTION)
            except (ValueError, ImportError):  # it knows its own ways only
                continue
