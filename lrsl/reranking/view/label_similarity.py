"""The paper's view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core
from lrsl.embedding.text_embedding import encode
from lrsl.reranking.view import FittedView, Given, View


@dataclass(frozen=True)
class LabelSimilarity(View):
    """The cosine between a text's embedding and each label's (eq. 9). The labels are embedded once."""

    def fit(self, given: Given) -> FittedLabelSimilarity:
        """Embed the labels; the training rows are not needed."""
        return FittedLabelSimilarity(given.embedding, encode(given.embedding, given.label_texts))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLabelSimilarity:
        """Return what `fit` returned; nothing is embedded."""
        return FittedLabelSimilarity(given.embedding, learnt["label_vectors"])


@dataclass(frozen=True, eq=False)
class FittedLabelSimilarity(FittedView):
    """Cosines with labels that have been embedded.

    Attributes:
        embedding: the text embedding.
        label_vectors: the labels' embeddings, `(classes, d)`.
    """

    embedding: SentenceTransformer
    label_vectors: Tensor

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the cosine similarities `(n, classes)`."""
        return core.label_similarity(encode(self.embedding, texts), self.label_vectors)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the labels' embeddings."""
        return {"label_vectors": self.label_vectors}
