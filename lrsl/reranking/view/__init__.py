"""A second view on a text: scores of its labels that do not come from the classifier. A file per view."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.reranking.component import Component, Fitted


@dataclass(frozen=True)
class Given:
    """What a view may learn from.

    Args:
        label_texts: the text of each label, in the order of the logits' columns.
        texts: the training texts; empty where there are none.
        labels: their labels.
        load_embedding: loads the fine-tuned text embedding.
    """

    label_texts: Sequence[str]
    texts: Sequence[str] = ()
    labels: Sequence[int] = ()
    load_embedding: Callable[[], SentenceTransformer] | None = None

    @functools.cached_property
    def embedding(self) -> SentenceTransformer:
        """The text embedding, loaded when it is first asked for.

        Raises:
            RuntimeError: there is none.
        """
        if self.load_embedding is None:
            raise RuntimeError("this view needs a text embedding, and none is given")
        return self.load_embedding()


class FittedView(Fitted, Protocol):
    """Scores for texts and all labels."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return `(n, classes)` for n texts."""
        ...


class FittedCandidateView(Fitted, Protocol):
    """Scores for texts and a few candidate labels of each."""

    def __call__(self, texts: Sequence[str], candidates: Tensor) -> Tensor:
        """Return `(n, k)` for n texts and the labels `(n, k)` that the classifier holds likeliest."""
        ...


class View(Component, Protocol):
    """A view before it is fitted.

    A view whose `scores_candidates` is true scores a few labels per text and is given the top-k only.
    """

    scores_candidates: bool = False

    def fit(self, given: Given) -> FittedView | FittedCandidateView:
        """Learn from label texts, training rows or the embedding, whatever the view asks for."""
        ...

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedView | FittedCandidateView:
        """Return what `fit` returned, from what it had learnt; without training rows.

        Unless overridden the view is fitted anew, which is right for one that needs no training rows.
        """
        return self.fit(given)
