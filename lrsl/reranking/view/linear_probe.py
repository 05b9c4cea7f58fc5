"""Another encoder, as it was pretrained, with a linear classifier on its vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.packed import packed, unpacked
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.reranking.saving import under
from lrsl.reranking.view import FittedView, Given, View
from lrsl.reranking.view.regression import check_two_labels, log_probabilities, out_of_fold, weights_of

KEY = "view.pretrained"


@dataclass(frozen=True)
class LinearProbe(View):
    """Log-probabilities of a logistic regression on the vectors of a frozen sentence encoder.

    The encoder is not fine-tuned, which is what makes it a second opinion: fine-tuning brings classifier and text
    embedding to the same mistakes. It may be the one that the text embedding was fine-tuned from, or a larger one. A
    label without training rows gets the smallest score of the row.

    The encoder is saved with what was learnt, so that nothing has to be there when it is loaded again. It is computed
    by torch, whatever backend the text embedding has.

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
            if not (value is None and name == "max_length") and not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")

    def fit(self, given: Given) -> FittedLinearProbe:
        """Embed the training texts and train on their vectors.

        Raises:
            ValueError: there are no training rows, or all have one label.
            InputError: the encoder is neither a folder nor reachable, or encodes no texts.
        """
        labels = given.training_labels
        check_two_labels(labels, "linear_probe")
        encoder = _ready(load_embedding(self.pretrained, max_length=self.max_length, key=KEY))
        vectors = encode(encoder, given.texts)
        learnt = self._trained(vectors, labels, len(given.label_texts))
        return FittedLinearProbe(learnt, encoder, (self, vectors, list(given.texts), labels))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLinearProbe:
        """Return what `fit` returned, without the training rows and without `pretrained`.

        Raises:
            ValueError: a saved file has a name that no setting, vocabulary or weights have.
            InputError: a setting names code, or the files are damaged.
        """
        encoder = _ready(unpacked(under("encoder", learnt), "the saved view LinearProbe"))
        return FittedLinearProbe({name: learnt[name] for name in ("weights", "bias")}, encoder)

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
        parameters: weights `(classes, d)` and bias `(classes,)`, NaN for labels without training rows.
        encoder: gives the vectors.
        training: the view, the training texts' vectors, the texts and their labels; None once restored.
    """

    parameters: Mapping[str, Tensor]
    encoder: SentenceTransformer
    training: tuple[LinearProbe, Tensor, Sequence[str], Tensor] | None = None

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
        """Return the regression, and the encoder's files as bytes."""
        return {**self.parameters, **{f"encoder.{name}": content for name, content in packed(self.encoder).items()}}


def _ready(encoder: SentenceTransformer) -> SentenceTransformer:
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _scores(learnt: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
    return log_probabilities(vectors @ learnt["weights"].T, learnt["bias"])
