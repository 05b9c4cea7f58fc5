"""The classifier of the paper's Figure 8: an encoder, dropout and an MLP head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.network import Network
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Split
from lrsl.nn.batches import Batch, TokenDataset
from lrsl.nn.pretrained import longest_input


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


class EncoderClassifier(Network):
    """Any pretrained encoder with a pooled representation and an `MLPHead`.

    Args:
        encoder: a transformer whose output has `last_hidden_state`.
        tokenizer: its tokenizer.
        classes: number of labels.
        settings: pooling, longest input, dropout and the head's hidden layer.
    """

    def __init__(
        self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, classes: int, settings: ModelConfig
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.pooling = settings.pooling or "cls"
        self.max_length = longest_input(tokenizer, encoder, settings.max_length)
        width = encoder.config.hidden_size
        self.head = MLPHead(width, classes, hidden=settings.head_hidden, dropout=settings.dropout)

    def samples(self, split: Split) -> TokenDataset:
        """Return the token ids of the texts."""
        return TokenDataset(self.tokenizer, split.texts, split.labels, self.max_length, self.tokenize)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(n, classes)` in float32 for `input_ids` and `attention_mask` `(n, tokens)`."""
        mask = batch["attention_mask"]
        states = self.encoder(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # half a logit decides what is hard: keep it exact
            logits: Tensor = self.head(pool(states.float(), mask, self.pooling))
        return logits
