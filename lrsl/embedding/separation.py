"""How well the texts of labels separate the texts that have them, by similarity alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core
from lrsl.data.corpus import Split
from lrsl.embedding.text_embedding import encode

MEASURED = 100
"""Training texts of a label on which texts for it are compared."""


def measured(split: Split, seed: int) -> Split:
    """Return up to `MEASURED` samples of each label, drawn with a seed, by label and then in file order."""
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(split.labels):
        rows.setdefault(label, []).append(row)
    draw = random.Random(seed)
    drawn = [sorted(draw.sample(rows[label], min(MEASURED, len(rows[label])))) for label in sorted(rows)]
    return split.take([row for of_label in drawn for row in of_label])


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
        return self._right(self.similarity)

    def right(self, label_texts: Sequence[str]) -> Tensor:
        """Return which texts are nearest to the text of their own label with these texts of labels, bool `(n,)`."""
        return core.label_similarity(self.texts, encode(self.embedding, label_texts)).argmax(1) == self.labels

    def is_better(self, label: int, text: str) -> bool:
        """Tell whether another text for a label separates the texts that have it better from those that have not.

        By similarity alone the label's F1 has to rise, so that a text does not do that is near to nothing, and no fewer
        of all texts may be right.
        """
        changed = self.similarity.clone()
        changed[:, label] = self._column(text)
        rises = self._f1(changed, label) > self._f1(self.similarity, label)
        return rises and self._right(changed) >= self.accuracy()

    def take(self, label: int, text: str) -> None:
        """Let this be the label's text from now on."""
        self.similarity[:, label] = self._column(text)

    def _right(self, similarity: Tensor) -> float:
        return float((similarity.argmax(1) == self.labels).double().mean())

    def _f1(self, similarity: Tensor, label: int) -> float:
        said, true = similarity.argmax(1) == label, self.labels == label
        return 2 * int((said & true).sum()) / max(1, int(said.sum() + true.sum()))

    def _column(self, text: str) -> Tensor:
        """Return the similarity of all texts to one, `(n,)`."""
        return core.label_similarity(self.texts, encode(self.embedding, [text]))[:, 0]
