"""Another encoder, as it was pretrained, with a linear classifier on its vectors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.nn.pretrained import fingerprint
from lrsl.reranking.view import FittedView, Given, View
from lrsl.reranking.view.examples import read, written
from lrsl.reranking.view.regression import check_two_labels, log_probabilities, out_of_fold, weights_of

KEY = "view.pretrained"


@dataclass(frozen=True)
class LinearProbe(View):
    """Log-probabilities of a logistic regression on the vectors of a frozen sentence encoder.

    The encoder is not fine-tuned, which is what makes it a second opinion: fine-tuning brings classifier and text
    embedding to the same mistakes. It may be the one that the text embedding was fine-tuned from, or a larger one. A
    label without training rows gets the smallest score of the row.

    What is saved are the regression and the encoder's name; where the encoder is not there, or is another by then,
    nothing is answered.

    Args:
        pretrained: hub id or local folder of the encoder.
        strength: the inverse of the L2 penalty (scikit-learn's C).
        max_length: longest input in tokens; the encoder's own limit unless given.

    Raises:
        ValueError: a number is not above 0.
    """

    pretrained: str = "sentence-transformers/all-MiniLM-L6-v2"
    strength: float = 10.0
    max_length: int | None = None

    cost = "one pass of the frozen encoder, and a product per label"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("strength", "max_length"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")

    def fit(self, given: Given) -> FittedLinearProbe:
        """Embed the training texts and train on their vectors.

        Raises:
            ValueError: there are no training rows, or all have one label.
            InputError: the encoder is neither a folder nor reachable, or encodes no texts.
        """
        labels = given.training_labels
        check_two_labels(labels, "linear_probe")
        encoder = self._encoder(given)
        vectors = encode(encoder, given.texts)
        learnt = self._trained(vectors, labels, len(given.label_texts))
        learnt["encoder"] = written(fingerprint(self.pretrained, KEY))
        return FittedLinearProbe(learnt, lambda: encoder, (self, vectors, list(given.texts), labels))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLinearProbe:
        """Return what `fit` returned, without the training rows; the encoder is loaded when it is first asked."""

        def load() -> SentenceTransformer:
            if fingerprint(self.pretrained, KEY) != read(learnt["encoder"]):
                raise ValueError(
                    f"{KEY}={self.pretrained} has other weights than when the view was fitted; fit it again, or bring "
                    "back what was there"
                )
            return self._encoder(given)

        return FittedLinearProbe(learnt, load)

    def _encoder(self, given: Given) -> SentenceTransformer:
        """Return the encoder, where the text embedding computes."""
        encoder = load_embedding(self.pretrained, max_length=self.max_length, key=KEY)
        return encoder if given.load_embedding is None else encoder.to(given.embedding.device)

    def _trained(self, vectors: Tensor, labels: Tensor, classes: int) -> dict[str, Tensor]:
        """Return weights `(classes, d)` and bias `(classes,)` of a regression on vectors `(rows, d)`."""
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression = LogisticRegression(C=self.strength, max_iter=300).fit(vectors.numpy(), labels.numpy())
        return weights_of(regression, classes)


@dataclass(frozen=True, eq=False)
class FittedLinearProbe(FittedView):
    """A logistic regression on the vectors of a frozen encoder.

    Attributes:
        parameters: weights `(classes, d)`, bias `(classes,)`, NaN for labels without training rows, and the hash of the
            encoder's weights.
        load: gives the encoder.
        training: the view, the training texts' vectors, the texts and their labels; None once restored.
    """

    parameters: Mapping[str, Tensor]
    load: Callable[[], SentenceTransformer]
    training: tuple[LinearProbe, Tensor, Sequence[str], Tensor] | None = None

    @functools.cached_property
    def encoder(self) -> SentenceTransformer:
        """The encoder, loaded when it is first asked for.

        Raises:
            InputError: it is not there any more.
            ValueError: it has other weights by now.
        """
        return self.load()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities `(n, classes)`."""
        if not texts:
            return torch.zeros(0, len(self.parameters["bias"]))
        return _scores(self.parameters, encode(self.encoder, texts))

    def of_training(self, rows: Tensor) -> Tensor | None:
        """Return the log-probabilities `(n, classes)` of training rows from a regression on four fifths without them.

        None once restored.

        Raises:
            ValueError: the other folds of a row have one label only.
        """
        if self.training is None:
            return None
        view, vectors, texts, labels = self.training
        classes = len(self.parameters["bias"])

        def trained(others: Tensor) -> Callable[[Tensor], Tensor]:
            check_two_labels(labels[others], "linear_probe")
            learnt = view._trained(vectors[others], labels[others], classes)
            return lambda asked: _scores(learnt, vectors[asked])

        return out_of_fold(rows, texts, labels, classes, trained)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the regression, and which encoder it is of."""
        return self.parameters


def _scores(learnt: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
    return log_probabilities(vectors @ learnt["weights"].T, learnt["bias"])
