"""The training texts that lie nearest, label by label."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.folds import first_alike
from lrsl.reranking.gaps import without_gaps
from lrsl.reranking.view import Encode, FittedView, Given, View

COSINES_AT_ONCE = 2**22
"""How many cosines are held in memory at a time."""


@dataclass(frozen=True)
class Instances(View):
    """How near a text lies to the nearest training texts of each label, in the embedding's space.

    A label's score is scale · τ · log mean exp(cosine / τ) over its nearest training texts: the largest cosine as the
    temperature τ goes to 0, the mean as it grows. A label with fewer texts takes those it has; a label without any gets
    the smallest score of the row.

    Args:
        neighbours: how many training texts of a label count, at most.
        temperature: τ.
        scale: what the cosines are multiplied by.

    Raises:
        ValueError: one of them is not above 0.
    """

    neighbours: int = 10
    temperature: float = 0.05
    scale: float = 20.0

    cost = "one pass of the text embedding, shared with the other views that use it, and a cosine per training text"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, value in self.settings().items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")

    def fit(self, given: Given) -> FittedInstances:
        """Embed the training texts.

        Raises:
            ValueError: there are no training rows.
            RuntimeError: there is no embedding.
        """
        labels, vectors = given.training_labels, given.encode(given.texts)
        return FittedInstances(
            self, given.encode, vectors, labels, len(given.label_texts), alike=first_alike(given.texts)
        )

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedInstances:
        """Return what `fit` returned; nothing is embedded."""
        return FittedInstances(self, given.encode, learnt["vectors"], learnt["labels"], len(given.label_texts))


@dataclass(frozen=True, eq=False)
class FittedInstances(FittedView):
    """Training texts that have been embedded.

    Attributes:
        settings: neighbours, temperature and scale.
        encode: embeds texts.
        vectors: the training texts' embeddings, `(rows, d)`, of unit length.
        labels: their labels, `(rows,)`.
        classes: number of labels.
        alike: for each training row the first with the same text, `(rows,)`; None once restored.
    """

    settings: Instances
    encode: Encode
    vectors: Tensor
    labels: Tensor
    classes: int
    alike: Tensor | None = None

    @functools.cached_property
    def rows_of(self) -> Sequence[Tensor]:
        """The training rows of each label."""
        counts = self.labels.bincount(minlength=self.classes).tolist()
        rows: Sequence[Tensor] = self.labels.argsort(stable=True).split(counts)
        return rows

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the scores `(n, classes)`."""
        return self._scores(self.encode(texts))

    def of_training(self, rows: Tensor) -> Tensor:
        """Return the scores `(n, classes)` of training rows, none of which is its own neighbour, nor has its text."""
        return self._scores(self.vectors[rows], rows)

    def nearest(self, texts: Sequence[str], n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, labels and cosines, each `(texts, n)`, of the training texts that lie nearest, nearest first."""
        cosines, rows = (self.encode(texts) @ self.vectors.T).topk(min(n, len(self.vectors)), dim=-1)
        return rows, self.labels[rows], cosines

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the training texts' embeddings and labels."""
        return {"vectors": self.vectors, "labels": self.labels}

    def _scores(self, vectors: Tensor, left_out: Tensor | None = None) -> Tensor:
        alike = torch.arange(len(self.labels)) if self.alike is None else self.alike
        scores = vectors.new_full((len(vectors), self.classes), torch.nan)
        for label, rows in enumerate(self.rows_of):
            if len(rows):
                of_label = self.vectors[rows]
                for part in torch.arange(len(vectors)).split(max(COSINES_AT_ONCE // len(rows), 1)):
                    cosines = vectors[part] @ of_label.T
                    if left_out is not None:
                        cosines.masked_fill_(alike[left_out[part]][:, None] == alike[rows], -torch.inf)
                    scores[part, label] = self._joined(cosines)
        return without_gaps(scores)

    def _joined(self, cosines: Tensor) -> Tensor:
        """Return a label's scores `(n,)` from the cosines `(n, texts)` with its texts, NaN where all are left out."""
        nearest = cosines.topk(min(self.settings.neighbours, cosines.shape[1]), dim=-1).values
        counts = nearest.isfinite().sum(-1)
        tau = self.settings.temperature
        joined = (nearest / tau).logsumexp(-1) - counts.to(nearest.dtype).log()
        return (self.settings.scale * tau * joined).where(counts > 0, math.nan)
