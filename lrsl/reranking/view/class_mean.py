"""The mean of each label's training texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsl.reranking.folds import first_alike
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
        training = Training(vectors, labels, first_alike(given.texts))
        return FittedClassMean(self, given.encode, _means(*_sums(vectors, labels, classes)), training)

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
        training: what scores training rows; None once restored.
    """

    settings: ClassMean
    encode: Encode
    means: Tensor
    training: Training | None = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the scores `(n, classes)`."""
        return without_gaps(self.settings.scale * (self.encode(texts) @ self.means.T))

    def of_training(self, rows: Tensor) -> Tensor | None:
        """Return the scores `(n, classes)` of training rows, each taken out of its label's mean; None once restored.

        Rows of the same text and label are taken out with it.
        """
        if self.training is None:
            return None
        vectors, own = self.training.vectors[rows], self.training.labels[rows]
        cosines = vectors @ self.means.T
        cosines[torch.arange(len(rows)), own] = (vectors * self.training.means_of_others()[rows]).sum(-1)
        return without_gaps(self.settings.scale * cosines)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the means."""
        return {"means": self.means}


@dataclass(frozen=True, eq=False)
class Training:
    """Training rows.

    Attributes:
        vectors: their embeddings, `(rows, d)`.
        labels: their labels, `(rows,)`.
        alike: for each the first with the same text, `(rows,)`.
    """

    vectors: Tensor
    labels: Tensor
    alike: Tensor

    def means_of_others(self) -> Tensor:
        """Return, for each row, the mean of those of its label that have another text, `(rows, d)`."""
        sums, counts = _sums(self.vectors, self.labels, int(self.labels.max()) + 1)
        copies = torch.stack([self.alike, self.labels]).unique(dim=1, return_inverse=True)[1]
        own_sums, own_counts = _sums(self.vectors, copies, int(copies.max()) + 1)
        return _means(sums[self.labels] - own_sums[copies], counts[self.labels] - own_counts[copies])


def _sums(vectors: Tensor, groups: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the sum of each group's vectors, `(number, d)`, and how many there are, `(number,)`."""
    sums = vectors.new_zeros(number, vectors.shape[1]).index_add_(0, groups, vectors)
    return sums, groups.bincount(minlength=number)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    """Return sums `(n, d)` at unit length, NaN where nothing was summed."""
    return F.normalize(sums, dim=-1).where(counts[:, None] > 0, torch.nan)
