"""Another classifier's opinion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsl.reranking.positional import logits_of
from lrsl.reranking.view import FittedView, Given, View


@dataclass(frozen=True)
class SecondClassifier(View):
    """Log-probabilities of another classifier, such as the same one trained with another seed.

    The classifier is given with `Given.second`, a function from texts to logits, and is not saved.

    Args:
        name: what reports call it.
    """

    name: str = "second classifier"

    cost = "one pass of the other classifier"

    def fit(self, given: Given) -> FittedSecondClassifier:
        """Take the other classifier as it is.

        Raises:
            RuntimeError: there is none.
        """
        if given.second is None:
            raise RuntimeError(f"the view {self.name!r} needs another classifier, and Given.second has none")
        return FittedSecondClassifier(self.name, given.second, len(given.label_texts))

    def restore(self, learnt: Mapping[str, Tensor], given: Given) -> FittedSecondClassifier:
        """Return what `fit` returned.

        Raises:
            RuntimeError: the other classifier is not there; it was not saved with the view.
        """
        return self.fit(given)


@dataclass(frozen=True, eq=False)
class FittedSecondClassifier(FittedView):
    """Another classifier.

    Attributes:
        name: what reports call it.
        second: gives logits `(n, classes)` for n texts.
        classes: number of labels.
    """

    name: str
    second: Callable[[Sequence[str]], Tensor]
    classes: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities `(n, classes)`.

        Raises:
            ValueError: the other classifier gives probabilities, or logits of another shape or that are not finite.
        """
        if not texts:
            return torch.zeros(0, self.classes)
        logits = logits_of(self.second(texts), what=f"logits of the view {self.name!r}")
        if logits.shape != (len(texts), self.classes):
            raise ValueError(
                f"the view {self.name!r} got logits of shape {tuple(logits.shape)} for {len(texts)} texts; "
                f"it must be {(len(texts), self.classes)}"
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
