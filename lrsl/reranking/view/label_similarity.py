"""The paper's view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lrsl import core
from lrsl.reranking.view import Encode, FittedView, Given, View


@dataclass(frozen=True)
class LabelSimilarity(View):
    """The cosine between a text's embedding and each label's (eq. 9). The labels are embedded once."""

    embeds_label_texts = True
    learns_from_rows = False
    cost = "one pass of the text embedding, shared with the other views that use it"

    def fit(self, given: Given) -> FittedLabelSimilarity:
        """Embed the labels; the training rows are not needed."""
        return FittedLabelSimilarity(given.encode, given.encode(given.label_texts))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLabelSimilarity:
        """Return what `fit` returned; nothing is embedded."""
        return FittedLabelSimilarity(given.encode, learnt["label_vectors"])


@dataclass(frozen=True, eq=False)
class FittedLabelSimilarity(FittedView):
    """Cosines with labels that have been embedded.

    Attributes:
        encode: embeds texts.
        label_vectors: the labels' embeddings, `(classes, d)`.
    """

    encode: Encode
    label_vectors: Tensor

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the cosine similarities `(n, classes)`."""
        return core.label_similarity(self.encode(texts), self.label_vectors)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the labels' embeddings."""
        return {"label_vectors": self.label_vectors}
