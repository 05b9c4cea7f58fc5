"""Which labels reranking helped and which it harmed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from experiments.runs.configurations import Configuration
from experiments.runs.predictions import predictions


@dataclass(frozen=True)
class LabelChange:
    """What reranking did to the test samples of one label, all seeds together.

    Attributes:
        label: the true label.
        samples: how many test samples have it, over all seeds.
        origin: how many of them the classifier gets right.
        mended: how many were wrong and are right.
        broken: how many were right and are wrong.
    """

    label: str
    samples: int
    origin: int
    mended: int
    broken: int

    @property
    def rerank(self) -> int:
        """How many are right after reranking."""
        return self.origin + self.mended - self.broken


def label_changes(configuration: Configuration) -> list[LabelChange]:
    """Return the labels of which reranking mended or broke a sample, the largest gain first."""
    samples: Counter[str] = Counter()
    origin: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for run in configuration.runs.values():
        for line in predictions(run):
            gold = line["gold"]
            before, after = line["origin"] == gold, line["rerank"] == gold
            samples[gold] += 1
            origin[gold] += before
            mended[gold] += after and not before
            broken[gold] += before and not after
    changes = [
        LabelChange(label, n, origin[label], mended[label], broken[label])
        for label, n in samples.items()
        if mended[label] or broken[label]
    ]
    return sorted(changes, key=lambda change: ((change.broken - change.mended) / change.samples, change.label))
