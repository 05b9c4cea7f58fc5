"""What the embedding learns: a text lies near its label's text and far from other labels' (section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from lrsl import core
from lrsl.config.schema import EmbeddingConfig
from lrsl.data.corpus import Split
from lrsl.embedding.inputs import Inputs, longest_of
from lrsl.nn.batches import Batch, TokenDataset, Tokenize, pad, tokenize


class LabelRanking(nn.Module):
    """A text embedding with the labels it ranks, and the multiple negatives ranking loss over them.

    Each distinct label of a step is encoded once, however many texts share it.

    Args:
        embedding: the sentence-transformers model, trained in place.
        label_texts: the text of each label.
        settings: negatives, scale, longest input.
        confused: the labels each training row is confused with, `(rows, k)`, for `negatives=confused`.

    Raises:
        ValueError: `negatives=confused` without confused labels.
        InputError: the embedding prepares texts in a way that only itself knows.
    """

    confused: Tensor | None
    tokenize: Tokenize = staticmethod(tokenize)

    def __init__(
        self,
        embedding: SentenceTransformer,
        label_texts: Sequence[str],
        settings: EmbeddingConfig,
        confused: Tensor | None = None,
    ) -> None:
        super().__init__()
        if settings.negatives == "confused" and confused is None:
            raise ValueError("negatives=confused needs the confused labels of every training row")
        self.embedding = embedding
        self.settings = settings
        self.register_buffer("confused", confused, persistent=False)
        self.inputs = Inputs.for_training(embedding)
        tokenizer, read = embedding.tokenizer, [(self.inputs.read(text),) for text in label_texts]
        self.label_ids = [tokens["input_ids"] for tokens in tokenize(tokenizer, read, self.max_length)]
        self.pad_token_id = int(tokenizer.pad_token_id or 0)

    @property
    def max_length(self) -> int:
        """Longest input in tokens."""
        return longest_of(self.embedding) or self.settings.max_length

    def samples(self, split: Split) -> TokenDataset:
        """Return the token ids of a split's texts."""
        read = [self.inputs.read(text) for text in split.texts]
        return TokenDataset(self.embedding.tokenizer, read, split.labels, self.max_length, self.tokenize)

    def encode(self, batch: Batch) -> Tensor:
        """Return embeddings `(n, d)`, float32, for `input_ids` and `attention_mask` `(n, tokens)`."""
        return self.inputs(batch)

    def encode_labels(self, labels: Sequence[int]) -> Tensor:
        """Return the embeddings `(u, d)` of u labels."""
        batch = pad([self.label_ids[label] for label in labels], self.pad_token_id)
        device = next(self.embedding.parameters()).device
        return self.encode({key: value.to(device) for key, value in batch.items()})

    def similarity(self, texts: Tensor, labels: Tensor) -> Tensor:
        """Return cosines in full precision, since the scale would multiply what rounding leaves."""
        with torch.autocast(texts.device.type, enabled=False):
            return core.label_similarity(texts, labels)

    def scores(self, batch: Batch, label_vectors: Tensor) -> Tensor:
        """Return the cosines `(n, classes)` of a batch's texts and the labels' vectors `(classes, d)`."""
        return self.similarity(self.encode(batch), label_vectors)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of eq. 6 with the configured negatives."""
        labels, candidates = batch["label"], None
        if self.settings.negatives == "all":
            distinct = torch.arange(len(self.label_ids), device=labels.device)
            positive = labels
        elif self.settings.negatives == "batch":  # the whole one, of which this process may have a part
            distinct = batch.get("together", labels).unique()
            positive = torch.searchsorted(distinct, labels)
        else:
            assert self.confused is not None
            confused = self.confused[batch["index"]]
            distinct, columns = torch.cat([labels[:, None], confused], dim=1).unique(return_inverse=True)
            positive = columns[:, 0]
            candidates = torch.zeros(len(labels), len(distinct), dtype=torch.bool, device=labels.device)
            candidates.scatter_(1, columns[:, 1:], value=True)
        similarity = self.similarity(self.encode(batch), self.encode_labels(distinct.tolist()))
        return core.ranking_loss(similarity, positive, self.settings.scale, candidates)
