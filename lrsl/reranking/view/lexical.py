"""The words and characters of a text."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsl.reranking.view import FittedView, Given, View
from lrsl.reranking.view.examples import read, written
from lrsl.reranking.view.regression import check_two_labels, log_probabilities, out_of_fold, weights_of

WORD_LENGTH = 20
"""Texts with less than one space in so many characters are taken as written without spaces."""


@dataclass(frozen=True)
class Lexical(View):
    """Log-probabilities of a logistic regression on the words and characters of a text; needs no embedding.

    The text is lower-cased and its words and pairs of words, and the sequences of 2 to 5 characters within words, are
    weighed by TF-IDF with a logarithmic term frequency. Texts written without spaces, such as Chinese, have their
    sequences of 1 to 3 characters alone. A label without training rows gets the smallest score of the row.

    Trained by scikit-learn's SAGA to a tolerance that is relative to the coefficients, which takes a third of the
    time of L-BFGS on 77 classes, for the same accuracy.

    Args:
        strength: the inverse of the L2 penalty (scikit-learn's C).
        max_features: at most so many words, and as many sequences of characters, the most frequent. The weights that
            are saved have 4 bytes for each of them and each label.

    Raises:
        ValueError: one of them is not above 0.
    """

    strength: float = 10.0
    max_features: int = 20_000

    cost = "a sparse product with the words and characters of the text, under a millisecond; no network"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, value in self.settings().items():
            if not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")

    def fit(self, given: Given) -> FittedLexical:
        """Train on the training rows.

        Raises:
            ValueError: there are no training rows, all have one label, or their texts are empty.
        """
        labels, texts = given.training_labels, list(given.texts)
        return FittedLexical(self._trained(texts, labels, len(given.label_texts)), (self, texts, labels))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLexical:
        """Return what `fit` returned, without the training rows."""
        return FittedLexical(learnt)

    def _trained(self, texts: Sequence[str], labels: Tensor, classes: int) -> dict[str, Tensor]:
        """Return what is learnt from training rows: terms, their inverse document frequencies, and the regression."""
        from scipy.sparse import hstack  # noqa: PLC0415
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        check_two_labels(labels, "lexical")
        spaced = sum(text.count(" ") for text in texts) * WORD_LENGTH >= sum(map(len, texts))
        kinds = ("words", "characters") if spaced else ("sequences",)
        learnt: dict[str, Tensor] = {}
        parts = []
        for kind in kinds:
            terms = _counter(kind, max_features=self.max_features)
            try:
                parts.append(terms.fit_transform(texts))
            except ValueError:  # no text has a term of this kind
                continue
            learnt[f"{kind}.terms"] = written("\n".join(terms.get_feature_names_out()))
            learnt[f"{kind}.idf"] = torch.from_numpy(terms.idf_.astype(np.float32))
        if not parts:
            raise ValueError("the training texts have neither words nor characters; the lexical view needs some")
        regression = LogisticRegression(C=self.strength, solver="saga", tol=0.03, max_iter=100, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(hstack(parts).tocsr(), labels.numpy())
        return learnt | weights_of(regression, classes)


@dataclass(frozen=True, eq=False)
class FittedLexical(FittedView):
    """A logistic regression on words and characters.

    Attributes:
        parameters: terms, inverse document frequencies, weights `(classes, terms)` and bias `(classes,)`, which is NaN
            for labels without training rows.
        training: the view, the training texts and their labels; None once restored.
    """

    parameters: Mapping[str, Tensor]
    training: tuple[Lexical, Sequence[str], Tensor] | None = None

    @functools.cached_property
    def terms(self) -> Sequence[Any]:
        """What counts the terms of texts and weighs them, for each kind of term."""
        kinds = (name.removesuffix(".terms") for name in self.parameters if name.endswith(".terms"))
        counters = []
        for kind in sorted(kinds, reverse=True):  # words before characters
            counter = _counter(kind, vocabulary=read(self.parameters[f"{kind}.terms"]).split("\n"))
            counter.idf_ = self.parameters[f"{kind}.idf"].numpy()
            counters.append(counter)
        return counters

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities `(n, classes)`."""
        from scipy.sparse import hstack  # noqa: PLC0415

        weights, bias = self.parameters["weights"], self.parameters["bias"]
        if not texts:
            return bias.new_zeros(0, len(bias))
        counted = hstack([terms.transform(texts) for terms in self.terms]).tocsr()
        return log_probabilities(torch.from_numpy(np.asarray(counted @ weights.numpy().T)), bias)

    def of_training(self, rows: Tensor) -> Tensor | None:
        """Return the log-probabilities `(n, classes)` of training rows from a regression on four fifths without them.

        None once restored. The folds have equal shares of each label, but for rows of the same text, which are in one.

        Raises:
            ValueError: the other folds of a row have one label only.
        """
        if self.training is None:
            return None
        view, texts, labels = self.training
        classes = len(self.parameters["bias"])

        def trained(others: Tensor) -> Callable[[Tensor], Tensor]:
            learnt = FittedLexical(view._trained([texts[row] for row in others.tolist()], labels[others], classes))
            return lambda asked: learnt([texts[row] for row in asked.tolist()])

        return out_of_fold(rows, texts, labels, classes, trained)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return terms, frequencies and regression."""
        return self.parameters


_COUNTED: Mapping[str, Mapping[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 5)},
    "sequences": {"analyzer": "char", "ngram_range": (1, 3)},
}


def _counter(kind: str, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415

    return TfidfVectorizer(preprocessor=_plain, sublinear_tf=True, dtype=np.float32, **_COUNTED[kind], **settings)


def _plain(text: str) -> str:
    """Return a text in lower case with nothing but single spaces as white space, so that no term has a line's end."""
    return " ".join(text.lower().split())
