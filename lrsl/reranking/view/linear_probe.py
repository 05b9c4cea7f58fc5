"""An encoder as it was pretrained, with a linear classifier on its vectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.packed import packed, unpacked
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.reranking.saving import under
from lrsl.reranking.view import Encode, FittedView, Given, View
from lrsl.reranking.view.regression import check_two_labels, log_probabilities, out_of_fold, weights_of

KEY = "view.pretrained"


@dataclass(frozen=True)
class LinearProbe(View):
    """Log-probabilities of a logistic regression on the vectors of a frozen sentence encoder.

    The encoder is not fine-tuned, which is what makes it a second opinion: fine-tuning brings classifier and text
    embedding to the same mistakes. Unless another is named it is the text embedding as it was before it was fine-tuned;
    where it was not, its vectors are shared with the views that use it. A label without training rows gets the smallest
    score of the row.

    An encoder that is not the text embedding itself is saved with what was learnt, so that nothing has to be there when
    it is loaded again. It is computed by torch, whatever backend the text embedding has.

    Args:
        pretrained: hub id or local folder of another encoder than the text embedding's.
        strength: the inverse of the L2 penalty (scikit-learn's C).
        max_length: longest input of that encoder in tokens; its own limit unless given.

    Raises:
        ValueError: a number is not above 0, or there is a `max_length` without `pretrained`.
    """

    pretrained: str | None = None
    strength: float = 10.0
    max_length: int | None = None

    cost = "one pass of the encoder as it was pretrained, and a product per label"

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("strength", "max_length"):
            value = getattr(self, name)
            if not (value is None and name == "max_length") and not value > 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        if self.pretrained is None and self.max_length is not None:
            raise ValueError("max_length is of the encoder that pretrained names, and none is named; leave it out")

    def fit(self, given: Given) -> FittedLinearProbe:
        """Embed the training texts and train on their vectors.

        Raises:
            ValueError: there are no training rows, or all have one label.
            RuntimeError: no encoder is named, and there is no text embedding.
            InputError: the encoder is neither a folder nor reachable, or encodes no texts.
        """
        labels = given.training_labels
        check_two_labels(labels, "linear_probe")
        encoder = self._encoder(given)
        embeds = given.encode if encoder is None else partial(encode, encoder)
        vectors = embeds(given.texts)
        learnt = self._trained(vectors, labels, len(given.label_texts))
        return FittedLinearProbe(learnt, embeds, encoder, (self, vectors, list(given.texts), labels))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedLinearProbe:
        """Return what `fit` returned, without the training rows and without `pretrained`.

        Raises:
            ValueError: a saved file has a name that no setting, vocabulary or weights have.
            InputError: a setting names code, or the files are damaged.
        """
        parameters = {name: learnt[name] for name in ("weights", "bias")}
        files = under("encoder", learnt)
        if not files and self.pretrained is None:
            return FittedLinearProbe(parameters, given.encode)
        encoder = _ready(unpacked(files, "the saved view LinearProbe"), given)
        return FittedLinearProbe(parameters, partial(encode, encoder), encoder)

    def _encoder(self, given: Given) -> SentenceTransformer | None:
        """Return the frozen encoder; None where that is the text embedding itself, off the shelf."""
        if self.pretrained is None:
            return None if given.load_untuned is None else given.load_untuned()
        return _ready(load_embedding(self.pretrained, max_length=self.max_length, key=KEY), given)

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
        encode: gives the vectors.
        encoder: what computes them; None where that is the text embedding, which is saved by itself.
        training: the view, the training texts' vectors, the texts and their labels; None once restored.
    """

    parameters: Mapping[str, Tensor]
    encode: Encode
    encoder: SentenceTransformer | None = None
    training: tuple[LinearProbe, Tensor, Sequence[str], Tensor] | None = None

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities `(n, classes)`."""
        if not texts:
            return torch.zeros(0, len(self.parameters["bias"]))
        return _scores(self.parameters, self.encode(texts))

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
        files = {} if self.encoder is None else packed(self.encoder)
        return {**self.parameters, **{f"encoder.{name}": content for name, content in files.items()}}


def _ready(encoder: SentenceTransformer, given: Given) -> SentenceTransformer:
    """Return an encoder where the text embedding computes; without one, on a GPU where there is one."""
    alone = "cuda" if torch.cuda.is_available() else "cpu"
    return encoder.to(alone if given.load_embedding is None else given.embedding.device).eval()


def _scores(learnt: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
    return log_probabilities(vectors @ learnt["weights"].T, learnt["bias"])
