"""What a reranker says of single texts: candidates with both scores, and why an answer is what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lrsl.reranking.rule import Detection, Reranked

WIDTH = 72  # of a text that is shown


class Candidate(NamedTuple):
    """A label that may be the answer.

    Attributes:
        label: its column.
        name: what it is called.
        before: the classifier's probability.
        after: what it is ranked by after reranking; the same as before in easy rows.
    """

    label: int
    name: str
    before: float
    after: float


class Answer(NamedTuple):
    """What becomes of a row.

    Attributes:
        name: what the answer is called; None for no answer.
        hard: whether the classifier hesitates.
        candidates: the labels among the k best before or after reranking, the best after it first.
        names: the labels of the row's set, where sets are asked for.
    """

    name: str | None
    hard: bool
    candidates: list[Candidate]
    names: list[str] | None = None


class Neighbour(NamedTuple):
    """A training row that lies near a text.

    Attributes:
        row: its number.
        name: what its label is called.
        cosine: of both texts' embeddings.
    """

    row: int
    name: str
    cosine: float


def candidates(logits: Tensor, reranked: Reranked, names: Sequence[str], k: int) -> list[list[Candidate]]:
    """Return, for each row, the labels that are among the k best before or after reranking, the best after it first.

    Args:
        logits: the classifier's, `(n, classes)`.
        reranked: what the rule makes of the rows.
        names: what the labels are called.
        k: at least so many, and twice as many at most.
    """
    before = logits.to(reranked.scores.dtype).softmax(dim=-1)
    firsts = zip((before, reranked.scores), (logits.argmax(dim=-1), reranked.labels), strict=True)
    best = zip(*(_best(scores, first, k).tolist() for scores, first in firsts), strict=True)
    found = []
    for row, (first, second) in enumerate(best):
        labels = list(dict.fromkeys([*second, *first]))
        old, new = before[row, labels].tolist(), reranked.scores[row, labels].tolist()
        of_row = [Candidate(*each) for each in zip(labels, (names[i] for i in labels), old, new, strict=True)]
        answer = int(reranked.labels[row])
        found.append(sorted(of_row, key=lambda one: (-one.after, one.label != answer, -one.before, one.label)))
    return found


def _best(scores: Tensor, first: Tensor, k: int) -> Tensor:
    """Return the k best labels of each row, `(n, k)`, the one that is known to be the first of equals among them."""
    return scores.scatter(1, first[:, None].to(scores.device), torch.inf).topk(k).indices


def explanations(
    texts: Sequence[str],
    reranked: Reranked,
    *,
    detection: Detection,
    hardness: Tensor,
    is_on: bool,
    found: Sequence[Sequence[Candidate]],
    views: Mapping[str, Tensor],
) -> list[Explanation]:
    """Return why rows have their answers.

    Args:
        texts: their texts.
        reranked: what the rule makes of them.
        detection: which rows are hard.
        hardness: the detector's numbers, `(n,)`.
        is_on: whether hard rows are reranked.
        found: the candidates of each row.
        views: each view's scores, `(n, classes)`.
    """
    return [
        Explanation(
            text,
            next(one.name for one in of_row if one.label == int(reranked.labels[row])),
            bool(reranked.hard[row]),
            float(hardness[row]),
            detection.threshold,
            is_on,
            of_row,
            {name: scores[row, [one.label for one in of_row]].tolist() for name, scores in views.items()},
        )
        for row, (text, of_row) in enumerate(zip(texts, found, strict=True))
    ]


@dataclass(frozen=True)
class Explanation:
    """Why a text has the answer it has.

    Attributes:
        text: the text.
        answer: what the classifier and the reranker say together.
        hard: whether the classifier hesitates.
        hardness: the detector's number, low where it does.
        threshold: below it a row is hard.
        is_on: whether hard rows are reranked at all.
        candidates: the labels among the k best before or after, the best after first.
        views: what each view makes of these labels, by its name, in their order; NaN for a label it has not scored.
    """

    text: str
    answer: str
    hard: bool
    hardness: float
    threshold: float
    is_on: bool
    candidates: Sequence[Candidate]
    views: Mapping[str, Sequence[float]]

    def __str__(self) -> str:
        """Return it as it is shown on a screen."""
        text = " ".join(self.text.split())
        below = f"{self.hardness:.4g} {'<' if self.hard else '>='} {self.threshold:.4g}"
        done = "reranked" if self.hard and self.is_on else "the classifier's answer stands"
        headings = ["label", "before", *self.views, "after"]
        rows = [
            [one.name, *(f"{value:.4f}" for value in (one.before, *(of[i] for of in self.views.values()), one.after))]
            for i, one in enumerate(self.candidates)
        ]
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        lines = [
            "  ".join(f"{cell:<{width}}" if not i else f"{cell:>{width}}" for i, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in (headings, *rows))
        ]
        return "\n".join(
            [
                text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…",
                f"answer: {self.answer}  ({'hard' if self.hard else 'easy'}, {below}; {done})",
                *lines,
            ]
        )


def is_changed(one: Answer | Explanation) -> bool:
    """Tell whether an answer is not the classifier's, which is the first of equals."""
    answer = one.name if isinstance(one, Answer) else one.answer
    return answer != max(one.candidates, key=lambda candidate: (candidate.before, -candidate.label)).name
