"""The one form in which every reader returns its data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple


class Turn(NamedTuple):
    """One utterance of a dialogue: who speaks (`"agent"`, `"customer"`, or `""` when unknown) and what is said."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Split:
    """The samples of one split, in file order.

    Attributes:
        ids: a name per sample, unique within the corpus.
        texts: the text per sample, never empty.
        labels: the index into `Corpus.labels` per sample; -1 where it is not known.
        turns: the turns per sample for dialogues, else None.
    """

    ids: list[str]
    texts: list[str]
    labels: list[int]
    turns: list[list[Turn]] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: list[int]) -> Split:
        """Return the split made of the given rows, in the given order."""
        return Split(
            ids=[self.ids[i] for i in rows],
            texts=[self.texts[i] for i in rows],
            labels=[self.labels[i] for i in rows],
            turns=None if self.turns is None else [self.turns[i] for i in rows],
        )

    def joined(self, other: Split) -> Split:
        """Return the samples of this split, followed by those of another."""
        turns = None if self.turns is None or other.turns is None else self.turns + other.turns
        return Split(self.ids + other.ids, self.texts + other.texts, self.labels + other.labels, turns)

    def fingerprint(self) -> str:
        """Return a hash of what a model can see of this split (16 hexadecimal digits); names of samples aside."""
        return hashlib.sha256(json.dumps([self.texts, self.labels, self.turns]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Corpus:
    """A text-classification data set, ready to use.

    Attributes:
        name: the name under which results are reported.
        labels: the label names; a label is its position here.
        label_texts: the readable text of each label, which the embedding sees; pairwise distinct.
        train: what the classifier and the embedding learn from.
        val: what chooses epochs and the threshold.
        test: what is only measured.
        groups: the coarse label of each label when there are two levels, else None.
        unlabelled: texts to predict for a leaderboard, under its own ids; None when there is none.
    """

    name: str
    labels: list[str]
    label_texts: list[str]
    train: Split
    val: Split
    test: Split
    groups: list[str] | None = None
    unlabelled: Split | None = None

    def fingerprint(self) -> str:
        """Return a hash of everything a model can see of this corpus (16 hexadecimal digits)."""
        digest = hashlib.sha256(json.dumps([self.labels, self.label_texts, self.groups]).encode())
        for split in (self.train, self.val, self.test, *([self.unlabelled] if self.unlabelled else [])):
            digest.update(json.dumps([split.ids, split.texts, split.labels, split.turns]).encode())
        return digest.hexdigest()[:16]
