"""Any function from texts to logits and its reranker, as one: an HTTP endpoint, or the log-probabilities of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from lrsl.plugin.answers import Answer, Explanation
from lrsl.plugin.reranker import Reranker
from lrsl.reranking.on_hard import NO_LABEL
from lrsl.reranking.positional import logits_of, texts_of

Function = Callable[[list[str]], Any]
"""Gives logits or log-probabilities `(n, classes)`, in any form that `Reranker` takes, for n texts."""


def from_function(
    function: Function,
    embedder: SentenceTransformer | str | Path | None,
    label_texts: Iterable[str],
    *,
    at_once: int | None = None,
    **settings: Any,
) -> RerankedFunction:
    """Return a function from texts to logits together with a reranker, which is then fitted on texts and labels.

    Args:
        function: gives logits or log-probabilities `(n, classes)` for n texts.
        embedder: as for `Reranker`.
        label_texts: a readable text per class, in the order of the logits' columns.
        at_once: how many texts the function is given at a time; all unless given.
        settings: as for `Reranker`, such as `rule="fitted"` or `names=[…]`.

    Raises:
        ValueError: as for `Reranker`, or `at_once` is below 1.
        InputError: as for `Reranker`.

    Example:
        >>> reranked = from_function(ask, "sentence-transformers/all-MiniLM-L6-v2", ["card arrival", "lost card", ...])
        >>> reranked.fit(val_texts, val_labels)
        >>> reranked.predict(["where is my card?"])
        ['card arrival']
    """
    return RerankedFunction(function, Reranker(embedder, label_texts, **settings), at_once=at_once)


class RerankedFunction:
    """A function from texts to logits, and its reranker.

    Args:
        function: gives logits or log-probabilities `(n, classes)` for n texts; it is never saved.
        reranker: a reranker for these, new, or from `Reranker.from_pretrained`.
        at_once: how many texts the function is given at a time; all unless given.

    Raises:
        ValueError: `at_once` is below 1.
    """

    def __init__(self, function: Function, reranker: Reranker, *, at_once: int | None = None) -> None:
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once is {at_once}; it must be at least 1")
        self.function = function
        self.reranker = reranker
        self.at_once = at_once

    @property
    def names(self) -> list[str]:
        """What the classes are called, in the order of the logits' columns."""
        return self.reranker.names or self.reranker.label_texts

    def logits(self, texts: Iterable[str]) -> NDArray[Any]:
        """Return the logits `(n, classes)` that the function gives.

        Raises:
            ValueError: it gives none, or for more or fewer rows than texts.
        """
        asked = texts_of(texts)
        step = self.at_once or max(len(asked), 1)
        classes = len(self.reranker.label_texts)
        found = []
        for start in range(0, len(asked), step):
            some = asked[start : start + step]
            values = logits_of(self.function(some), classes, "what the function gives", self.names)
            if len(values) != len(some):
                raise ValueError(f"the function gives {len(values)} rows of logits for {len(some)} texts")
            found.append(values.double().numpy())
        return np.concatenate(found) if found else np.zeros((0, classes))

    def fit(
        self,
        texts: Iterable[str],
        labels: Any,
        train: tuple[Iterable[str], Any] | None = None,
        *,
        columns: str = "checked",
        **recipe: Any,
    ) -> RerankedFunction:
        """Fit the reranker on labelled texts that the function was not trained on.

        Args:
            texts: held-out texts.
            labels: their true classes, by number or by what they are called.
            train: texts and labels for views to learn from, and to fine-tune the embedding on.
            columns: as for `Reranker.fit`.
            recipe: as for `Reranker.fit`.

        Raises:
            ValueError: as for `Reranker.fit` and `logits`.
        """
        held_out, rows = texts_of(texts), None
        if train is not None:
            if not isinstance(train, tuple | list) or len(train) != 2:
                raise ValueError("train must be (texts, labels)")
            learnt_from = texts_of(train[0], "train texts")
            confused = recipe.get("negatives") == "confused"
            rows = (learnt_from, train[1], self.logits(learnt_from) if confused else None)
        self.reranker.fit(self.logits(held_out), labels, held_out, rows, columns=columns, **recipe)
        return self

    def predict(self, texts: Iterable[str]) -> list[str | None]:
        """Return what each text's class is called; None for no answer."""
        asked = texts_of(texts)
        found = self.reranker.predict(self.logits(asked), asked).tolist()
        return [None if label == NO_LABEL else self.names[label] for label in found]

    def predict_proba(self, texts: Iterable[str]) -> NDArray[Any]:
        """Return calibrated probabilities `(n, classes)`."""
        asked = texts_of(texts)
        return self.reranker.predict_proba(self.logits(asked), asked)

    def answers(self, texts: Iterable[str], k: int | None = None) -> list[Answer]:
        """Return answer, whether hard, and candidates of each text, as `Reranker.answers` does."""
        asked = texts_of(texts)
        return self.reranker.answers(self.logits(asked), asked, k)

    def explain(self, texts: Iterable[str], k: int | None = None) -> list[Explanation]:
        """Return why each text has its answer, as `Reranker.explain` does."""
        asked = texts_of(texts)
        return self.reranker.explain(self.logits(asked), asked, k)
