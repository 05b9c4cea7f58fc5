"""The mean of each label's training texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsl.reranking.gaps import without_gaps
from lrsl.reranking.view import Encode, FittedView, Given, View


@dataclass(frozen=True)
class ClassMean(View):
    """The cosine between a text's embedding and the mean embedding of each label's training texts, times a scale.

    A label without training texts gets the smallest score of the row.

    Args:
        scale: what the cosines are multiplied by.

    Raises:
        ValueError: the scale is not above 0.
    """

    scale: float = 20.0

    cost = "one pass of the text embedding, shared with the other views that use it"

    def __post_init__(self) -> None:
        """Check the scale."""
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale}; it must be above 0")

    def fit(self, given: Given) -> FittedClassMean:
        """Embed the training texts and take the mean of each label's.

        Raises:
            ValueError: there are no training rows.
            RuntimeError: there is no embedding.
        """
        labels, classes = given.training_labels, len(given.label_texts)
        vectors = given.encode(given.texts)
        sums = vectors.new_zeros(classes, vectors.shape[1]).index_add_(0, labels, vectors)
        counts = labels.bincount(minlength=classes)
        return FittedClassMean(self, given.encode, _means(sums, counts), (vectors, labels, sums, counts))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedClassMean:
        """Return what `fit` returned, without the training rows."""
        return FittedClassMean(self, given.encode, learnt["means"])


@dataclass(frozen=True, eq=False)
class FittedClassMean(FittedView):
    """Means of embeddings.

    Attributes:
        settings: the scale.
        encode: embeds texts.
        means: the mean of each label's training texts, `(classes, d)`, of unit length; NaN for labels without any.
        training: the training texts' embeddings `(rows, d)` and labels `(rows,)`, and for each label the sum of its
            embeddings `(classes, d)` and their number `(classes,)`; None once restored.
    """

    settings: ClassMean
    encode: Encode
    means: Tensor
    training: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the scores `(n, classes)`."""
        return without_gaps(self.settings.scale * (self.encode(texts) @ self.means.T))

    def of_training(self, rows: Tensor) -> Tensor | None:
        """Return the scores `(n, classes)` of training rows, each taken out of its label's mean; None once restored."""
        if self.training is None:
            return None
        vectors, labels, sums, counts = self.training
        own = labels[rows]
        cosines = vectors[rows] @ self.means.T
        others = _means(sums[own] - vectors[rows], counts[own] - 1)
        cosines[torch.arange(len(rows)), own] = (vectors[rows] * others).sum(-1)
        return without_gaps(self.settings.scale * cosines)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the means."""
        return {"means": self.means}


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Return sums `(n, d)` at unit length, NaN where nothing was summed."""
    return F.normalize(sums, dim=-1).where(counts[:, None] > 0, torch.nan)
