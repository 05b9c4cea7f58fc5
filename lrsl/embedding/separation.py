"""How well the texts of labels separate the texts that have them, by similarity alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core
from lrsl.embedding.text_embedding import encode


class Separation:
    """The similarity of texts to the texts of their labels, in which one label's text can be changed.

    Args:
        embedding: what compares them.
        texts: n texts.
        labels: their labels, n positions.
        label_texts: the text of each label.
    """

    def __init__(
        self, embedding: SentenceTransformer, texts: Sequence[str], labels: Sequence[int], label_texts: Sequence[str]
    ) -> None:
        self.embedding = embedding
        self.labels = torch.tensor(labels, dtype=torch.long)
        self.texts = encode(embedding, texts)
        self.similarity = core.label_similarity(self.texts, encode(embedding, label_texts))

    def accuracy(self) -> float:
        """Return the share of texts that are nearest to the text of their own label."""
        return float((self.similarity.argmax(1) == self.labels).float().mean())

    def of(self, label: int, text: str | None = None) -> float:
        """Return how well a label is separated from the others, from 0 to 1; 0.5 is chance.

        Half of it is the share of pairs of a text with the label and another label in which the label is nearer; the
        other half the share of texts without the label whose own label is nearer than it.

        Args:
            label: its position.
            text: what to take for the label's text; its present one unless given.
        """
        column = self.similarity[:, label] if text is None else self._column(text)
        has_it = self.labels == label
        rest = torch.arange(self.similarity.shape[1]) != label
        own = self.similarity.gather(1, self.labels[:, None])[:, 0]
        parts = [column[has_it, None] > self.similarity[has_it][:, rest], own[~has_it] > column[~has_it]]
        shares = [part.double().mean() for part in parts if part.numel()]
        return float(torch.stack(shares).mean()) if shares else 0.5

    def is_better(self, label: int, text: str) -> bool:
        """Tell whether a text separates a label better than its present one does."""
        return self.of(label, text) > self.of(label)

    def take(self, label: int, text: str) -> None:
        """Let this be the label's text from now on."""
        self.similarity[:, label] = self._column(text)

    def _column(self, text: str) -> Tensor:
        """Return the similarity of all texts to one, `(n,)`."""
        return core.label_similarity(self.texts, encode(self.embedding, [text]))[:, 0]
