"""A detector, a threshold rule, a view and a fusion as a user would write them, in a module of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lrsl
from lrsl.reranking.fusion import FittedFusion
from lrsl.reranking.view import FittedCandidateView, FittedView


@dataclass(frozen=True)
class Margin(lrsl.DetectorWithoutFit):
    """How far the largest logit lies above the second."""

    scale: float = 1.0

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the margins `(n,)`."""
        first, second = logits.topk(2, dim=-1).values.unbind(-1)
        return (first - second) * self.scale


@dataclass(frozen=True)
class Share(lrsl.ThresholdRule):
    """A share of the held-out rows is hard."""

    share: float = 0.3

    def fit(self, hardness: Tensor, logits: Tensor, labels: Tensor) -> float:
        """Return the quantile."""
        return hardness.double().quantile(self.share).item()


@dataclass(frozen=True)
class WordOverlap(lrsl.View):
    """How many words a text shares with the training texts of a label; needs no embedding."""

    ignored: Sequence[str] = field(default_factory=list)

    def fit(self, given: lrsl.Given) -> "FittedWordOverlap":
        """Count the words."""
        words = sorted({word for text in given.texts for word in text.split()} - set(self.ignored))
        counts = torch.zeros(len(words), len(given.label_texts))
        for text, label in zip(given.texts, given.labels, strict=True):
            for word in set(text.split()) & set(words):
                counts[words.index(word), label] += 1
        names = torch.tensor(list("\n".join(words).encode()), dtype=torch.uint8)
        return FittedWordOverlap(names, counts)

    def restore(self, learnt: Mapping[str, Tensor], given: lrsl.Given) -> "FittedWordOverlap":
        """Take the counts back."""
        return FittedWordOverlap(learnt["names"], learnt["counts"])


@dataclass(frozen=True, eq=False)
class FittedWordOverlap(FittedView):
    """Words that were counted."""

    names: Tensor
    counts: Tensor

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return scores `(n, classes)`."""
        words = bytes(self.names.tolist()).decode().split("\n")
        rows = [[word in text.split() for word in words] for text in texts]
        shared = torch.tensor(rows, dtype=torch.float32).reshape(len(texts), len(words)) @ self.counts
        return (shared + 0.1) / (shared + 0.1).sum(-1, keepdim=True)

    def learnt(self) -> Mapping[str, Tensor]:
        """Return words and counts."""
        return {"names": self.names, "counts": self.counts}


@dataclass(frozen=True)
class SecondGuess(lrsl.View, FittedCandidateView):
    """Prefers the second of the candidates it is given."""

    scores_candidates: bool = True

    def fit(self, given: lrsl.Given) -> "SecondGuess":
        """Return itself: nothing is needed."""
        return self

    def __call__(self, texts: Sequence[str], candidates: Tensor) -> Tensor:
        """Return scores `(n, k)`."""
        scores = torch.full(candidates.shape, 0.1)
        scores[:, 1] = 1.0
        return scores


@dataclass(frozen=True)
class Sum(lrsl.Fusion):
    """Log-probabilities plus the views, weighed by how often each alone is right on hard rows."""

    strength: float = 5.0

    def fit(self, logits: Tensor, labels: Tensor, scores: Sequence[Tensor], hard: Tensor) -> "FittedSum":
        """Learn the weights."""
        right = [(score.argmax(-1) == labels)[hard].float().mean() for score in scores]
        return FittedSum(self.strength * torch.stack(right))

    def restore(self, learnt: Mapping[str, Tensor]) -> "FittedSum":
        """Take the weights back."""
        return FittedSum(learnt["weights"])


@dataclass(frozen=True, eq=False)
class FittedSum(FittedFusion):
    """Weights that were learnt."""

    weights: Tensor

    def __call__(self, logits: Tensor, scores: Sequence[Tensor]) -> Tensor:
        """Return `(n, classes)`."""
        return logits.log_softmax(-1) + sum(w * s.nan_to_num(0) for w, s in zip(self.weights, scores, strict=True))

    def learnt(self) -> Mapping[str, Tensor]:
        """Return the weights."""
        return {"weights": self.weights}
