"""HLDIC, the hierarchical label-aware dialogue intent classification (Huang et al., 2024), as far as it can be rebuilt.

A reconstruction: neither its full text nor its code is public. Known is what the title says, that it knows the labels'
texts and their hierarchy, and from the paper on LRSL that it is for labels on two levels. All else was chosen here, so
figures from here are not those of the published model:

* each label of either level, the groups and the labels proper, has an embedding, which starts as what the encoder
  makes of the label's text: from the first step on, a label attends to the tokens that mean what it means;
* the groups are decided first; what is expected of them goes into the representation that the labels are decided on,
  and the log-probability of its group into each label's logit;
* the loss is that of the labels plus `model.hldic.group_loss_weight` times that of the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrsl.classifiers.encoder import MLPHead, pool
from lrsl.classifiers.network import Network
from lrsl.config.schema import ModelConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.data.label_texts import readable
from lrsl.errors import InputError
from lrsl.nn.batches import Batch, TokenDataset, padded
from lrsl.nn.pretrained import longest_input

SHARPNESS = 8.0  # what a cosine between label and token is multiplied by before the softmax over tokens, at the start
SCALE = 10.0  # what a cosine between a label and what it found is multiplied by in its logit, at the start


class LabelAttention(nn.Module):
    """One level of labels: each gathers the token states that are like it, and is scored by how like it they are.

    Args:
        embeddings: of the labels, `(labels, d)`, from where they start.
        settings: dropout and the classifier's hidden layer.
    """

    def __init__(self, embeddings: Tensor, settings: ModelConfig) -> None:
        super().__init__()
        labels, width = embeddings.shape
        self.embeddings = nn.Parameter(F.normalize(embeddings.detach().clone(), dim=-1))
        self.key = nn.Linear(width, width)
        nn.init.eye_(self.key.weight)  # labels and tokens come from one encoder, so they can be compared as they are
        nn.init.zeros_(self.key.bias)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.scale = nn.Parameter(torch.tensor(SCALE))
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = MLPHead(width, labels, hidden=settings.head_hidden, dropout=settings.dropout)

    def forward(self, states: Tensor, mask: Tensor, pooled: Tensor) -> Tensor:
        """Return logits `(n, labels)`.

        Args:
            states: token states, `(n, tokens, d)`.
            mask: 0 for padding, `(n, tokens)`.
            pooled: the representation of the whole text, `(n, d)`, on which a plain classifier adds its logits.
        """
        logits: Tensor = self.scale * self.likeness(states, mask) + self.classifier(pooled)
        return logits

    def likeness(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the cosine of each label with the states it attends to, `(n, labels)`."""
        labels = F.normalize(self.embeddings, dim=-1)
        fit = self.sharpness * labels @ F.normalize(self.key(states), dim=-1).mT
        weight = fit.masked_fill(mask.unsqueeze(1) == 0, -torch.inf).softmax(dim=-1)
        attended = self.dropout(weight @ states)
        return F.cosine_similarity(attended, labels, dim=-1)


class LabelTree(nn.Module):
    """All of HLDIC above the encoder: the groups, then the labels given the groups.

    Args:
        groups: embeddings of the groups, `(groups, d)`.
        labels: embeddings of the labels, `(classes, d)`.
        group_of: the group of each label, `(classes,)`.
        settings: dropout and the classifiers' hidden layers.
    """

    group_of: Tensor

    def __init__(self, groups: Tensor, labels: Tensor, group_of: Tensor, settings: ModelConfig) -> None:
        super().__init__()
        width = labels.shape[1]
        self.groups = LabelAttention(groups, settings)
        self.labels = LabelAttention(labels, settings)
        self.gate = nn.Linear(2 * width, width)
        self.expected = nn.Linear(width, width)
        self.register_buffer("group_of", group_of)

    def forward(self, states: Tensor, mask: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the labels `(n, classes)` and of the groups `(n, groups)`."""
        coarse = self.groups(states, mask, pooled)
        expected = coarse.softmax(dim=-1) @ self.groups.embeddings
        gate = self.gate(torch.cat([pooled, expected], dim=-1)).sigmoid()
        fine = self.labels(states, mask, pooled + gate * self.expected(expected))
        return fine + coarse.log_softmax(dim=-1)[:, self.group_of], coarse


class LabelTreeNetwork(Network):
    """An encoder whose token states the labels of two levels attend to.

    Args:
        encoder: a transformer whose output has `last_hidden_state`.
        tokenizer: its tokenizer.
        corpus: its labels, their texts and their groups.
        settings: pooling, longest input, dropout, weight of the groups' loss.

    Raises:
        InputError: the corpus has no groups.
    """

    head: LabelTree

    def __init__(
        self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus, settings: ModelConfig
    ) -> None:
        super().__init__()
        if corpus.groups is None:
            raise InputError(f"{corpus.name} has no groups of labels, which {settings.name} needs; set dataset.group")
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.pooling = settings.pooling or "cls"
        self.group_loss_weight = settings.hldic.group_loss_weight
        self.max_length = longest_input(tokenizer, encoder, settings.max_length)
        groups = sorted(set(corpus.groups))
        self.head = LabelTree(
            self.encode([readable(group) for group in groups]),
            self.encode(corpus.label_texts),
            torch.tensor([groups.index(group) for group in corpus.groups]),
            settings,
        )

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the mean of each text's token states, `(n, d)`."""
        batch = padded(self.tokenizer, texts, self.max_length)
        return pool(self.encoder(**batch).last_hidden_state.float(), batch["attention_mask"], "mean")

    def samples(self, split: Split) -> TokenDataset:
        """Return the token ids of the texts."""
        return TokenDataset(self.tokenizer, split.texts, split.labels, self.max_length, self.tokenize)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of the labels, `(n, classes)`, in float32, for `input_ids` and `attention_mask`."""
        return self.both_levels(batch)[0]

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of the labels and, weighted, that of their groups."""
        labels, groups = self.both_levels(batch)
        coarse = F.cross_entropy(groups, self.head.group_of[batch["label"]])
        return F.cross_entropy(labels, batch["label"]) + self.group_loss_weight * coarse

    def both_levels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of the labels `(n, classes)` and of the groups `(n, groups)`, float32."""
        mask = batch["attention_mask"]
        states = self.encoder(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        with torch.autocast(states.device.type, enabled=False):  # as for every head
            states = states.float()
            return self.head(states, mask, pool(states, mask, self.pooling))  # type: ignore[no-any-return]
