"""A second view on a text: anything that scores every label for it without looking at the classifier's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core
from lrsl.embedding.text_embedding import encode


class View(Protocol):
    """A score per text and label. A new one is a small class and a YAML file."""

    def fit(
        self, embedding: SentenceTransformer, label_texts: Sequence[str], texts: Sequence[str], labels: Sequence[int]
    ) -> View:
        """Take in the fine-tuned embedding, the text of each label, and the training texts with their labels."""
        ...

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return `(n, classes)` for n texts."""
        ...


class LabelSimilarity:
    """The paper's view: the cosine between a text's embedding and each label's (eq. 9).

    The labels are embedded once, when it is fitted.
    """

    def fit(
        self,
        embedding: SentenceTransformer,
        label_texts: Sequence[str],
        texts: Sequence[str] = (),
        labels: Sequence[int] = (),
    ) -> LabelSimilarity:
        """Embed the labels; the training texts are not needed."""
        self.embedding = embedding
        self.label_vectors = encode(embedding, label_texts)
        return self

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the cosine similarities `(n, classes)`."""
        return core.label_similarity(encode(self.embedding, texts), self.label_vectors)


class KnownScores:
    """A view that has looked at its texts before.

    Args:
        texts: n texts; of equal ones the first counts.
        scores: their scores, `(n, classes)`.
    """

    def __init__(self, texts: Sequence[str], scores: Tensor) -> None:
        self.scores = scores
        self.rows = {text: row for row, text in reversed(list(enumerate(texts)))}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the scores `(n, classes)` of n of the texts.

        Raises:
            KeyError: a text is none of them.
        """
        return self.scores[[self.rows[text] for text in texts]]
