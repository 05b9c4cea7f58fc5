"""A second view on a text: scores of its labels that do not come from the classifier. A file per view."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.text_embedding import encode
from lrsl.nn.batches import Text, note_what_is_cut, noting_what_is_cut
from lrsl.nn.kept import Kept
from lrsl.reranking.component import Component, Fitted
from lrsl.reranking.positional import labels_of, texts_of

Encode = Callable[[Sequence[str]], Tensor]
"""Gives the unit-length embeddings `(n, d)` of n texts."""


@dataclass(frozen=True)
class Given:
    """What a view may learn from.

    Args:
        label_texts: the text of each label, in the order of the logits' columns.
        texts: the training texts; empty where there are none.
        labels: their labels.
        load_embedding: loads the text embedding, fine-tuned where it is.
        candidates: gives the labels `(n, k)`, likeliest first, that a classifier which has not seen a training row
            holds likeliest for it (out-of-fold); n is the number of training rows.
        second: gives the logits `(n, classes)` of another classifier, such as the same one trained with another seed.
        kept: gives a place on disk where a view that is trained keeps what it has reached, to go on from there.
        run: gives what computes the vectors of an embedding, where that is not torch; None where it is.
        load_untuned: loads the text embedding as it was before it was fine-tuned; None where it was not.

    Raises:
        ValueError: the texts or label texts are no strings in an order.
    """

    label_texts: Sequence[str]
    texts: Sequence[str] = ()
    labels: Sequence[int] = ()
    load_embedding: Callable[[], SentenceTransformer] | None = None
    candidates: Callable[[], Tensor] | None = None
    second: Callable[[Sequence[str]], Tensor] | None = None
    kept: Callable[[], Kept] | None = None
    run: Callable[[SentenceTransformer], Encode | None] | None = None
    load_untuned: Callable[[], SentenceTransformer] | None = None

    def __post_init__(self) -> None:
        """Take the texts by position."""
        for name in ("label_texts", "texts"):
            object.__setattr__(self, name, texts_of(getattr(self, name), name))

    @functools.cached_property
    def embedding(self) -> SentenceTransformer:
        """The text embedding, loaded when it is first asked for.

        Raises:
            RuntimeError: there is none.
        """
        if self.load_embedding is None:
            raise RuntimeError("this view needs a text embedding, and none is given")
        return self.load_embedding()

    @functools.cached_property
    def encode(self) -> Encode:
        """What embeds texts, `(n, d)`; views that are asked for the same texts one after the other share the result.

        Raises:
            RuntimeError: there is no embedding.
        """
        computed = None if self.run is None else self.run(self.embedding)
        return _Remembering(functools.partial(encode, self.embedding) if computed is None else computed)

    @functools.cached_property
    def training_labels(self) -> Tensor:
        """The labels `(n,)` of the training rows, for a view that cannot do without.

        Raises:
            ValueError: there are none, or one is no label.
        """
        if not self.texts:
            raise ValueError(
                "this view learns from training rows, and there are none; "
                "give train=(texts, labels, None) to Reranker.fit, or --train TABLE to lrsl fit"
            )
        named = any(isinstance(label, str) for label in self.labels)  # numbers are places, whatever the texts are
        labels = labels_of(self.labels, len(self.label_texts), self.label_texts if named else None)
        if len(labels) != len(self.texts):
            raise ValueError(
                f"there are {len(self.texts)} training texts and {len(labels)} labels; there must be one per text"
            )
        return labels


class _Remembering:
    """Embeds texts, and remembers the last that it was asked for."""

    def __init__(self, compute: Encode) -> None:
        self.compute = compute
        self.last: tuple[list[str], Tensor, Mapping[Text, int]] | None = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        asked, last = list(texts), self.last
        if last is None or last[0] != asked:
            with noting_what_is_cut() as cut:
                vectors = self.compute(asked)
            self.last = last = asked, vectors, cut
        else:
            note_what_is_cut(last[2])
        return last[1]


class FittedView(Fitted, Protocol):
    """Scores for texts and all labels."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return `(n, classes)` for n texts."""
        ...

    def of_training(self, rows: Tensor) -> Tensor | None:
        """Return `(n, classes)` for the training rows of these numbers `(n,)`, each as if it had not been learnt from.

        None unless overridden, and where a view that was restored lacks what it takes.
        """
        return None


class FittedCandidateView(Fitted, Protocol):
    """Scores for texts and a few candidate labels of each."""

    def __call__(self, texts: Sequence[str], candidates: Tensor) -> Tensor:
        """Return `(n, k)` for n texts and the labels `(n, k)` that the classifier holds likeliest."""
        ...


class View(Component, Protocol):
    """A view before it is fitted.

    A view whose `scores_candidates` is true scores a few labels per text and is given the top-k only. For one whose
    `embeds_label_texts` is true the embedding must tell the label texts apart, which is checked before anything is
    trained. One whose `learns_from_rows` is false makes the same of a text whatever the training rows are. `cost` says
    in a phrase what it costs per text; it is empty where a view does not say.
    """

    scores_candidates: bool = False
    embeds_label_texts: bool = False
    learns_from_rows: bool = True
    cost: str = ""

    def fit(self, given: Given) -> FittedView | FittedCandidateView:
        """Learn from label texts, training rows or the embedding, whatever the view asks for."""
        ...

    def sends_to(self) -> str:
        """Return the address that texts are sent to; empty, unless overridden, for they stay on this machine.

        A reranker with a view that sends them is loaded only by who allows it.
        """
        return ""

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedView | FittedCandidateView:
        """Return what `fit` returned, from what it had learnt; without training rows.

        Unless overridden the view is fitted anew, which is right for one that needs no training rows.
        """
        return self.fit(given)
