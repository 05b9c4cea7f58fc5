"""The classifier of the paper's Figure 8: an encoder, dropout and an MLP head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Return one vector per text from its token states.

    Args:
        states: token states, `(n, tokens, d)`.
        attention_mask: 1 for real tokens, 0 for padding, `(n, tokens)`.
        pooling: `cls` for the first token's state, `mean` for the mean over real tokens.

    Returns:
        `(n, d)`.
    """
    if pooling == "cls":
        return states[:, 0]
    weight = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


class MLPHead(nn.Sequential):
    """Dropout and a linear layer; with `hidden` above 0 a hidden layer with GELU and dropout comes first."""

    def __init__(self, width: int, classes: int, *, hidden: int = 0, dropout: float = 0.1) -> None:
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(hidden or width, classes))


class EncoderClassifier(nn.Module):
    """Any pretrained encoder with a pooled representation and an `MLPHead`.

    Args:
        encoder: a transformer whose output has `last_hidden_state`.
        classes: number of labels.
        pooling: `cls` or `mean`.
        hidden: width of the head's hidden layer, 0 for none.
        dropout: dropout in the head.
    """

    def __init__(
        self, encoder: PreTrainedModel, classes: int, *, pooling: str = "cls", hidden: int = 0, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = MLPHead(encoder.config.hidden_size, classes, hidden=hidden, dropout=dropout)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `(n, classes)` in float32 for token ids and mask `(n, tokens)`."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # half a logit decides what is hard: keep it exact
            pooled = pool(states.float(), attention_mask, self.pooling)
            logits: Tensor = self.head(pooled)
        return logits
