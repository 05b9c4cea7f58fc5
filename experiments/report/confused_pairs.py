"""Which labels the classifier takes for which others among hard samples, and which side gains by reranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.runs.configurations import Configuration
from experiments.runs.predictions import predictions

RULES = ("rerank", "fitted")


@dataclass(frozen=True)
class ConfusedPair:
    """What becomes of the hard test samples of one label that are taken for another, all seeds together.

    A sample is hard where either rule takes it for hard; a rule changes those alone that it takes for hard itself. The
    fitted rule is shown as if it were deployed.

    Attributes:
        label: the true label.
        other: what is answered in its place.
        samples: how many the classifier gets wrong in this way.
        mended: how many of them a rule gets right, by the name of the rule.
        broken: how many a rule gets wrong in this way that the classifier gets right, by the name of the rule.
        gains: by the name of the rule, which of both labels has more samples mended less broken by the other; empty
            where neither has.
    """

    label: str
    other: str
    samples: int
    mended: Mapping[str, int]
    broken: Mapping[str, int]
    gains: Mapping[str, str]


@dataclass
class _Counts:
    samples: Counter[tuple[str, str]] = field(default_factory=Counter)
    mended: Counter[tuple[str, tuple[str, str]]] = field(default_factory=Counter)
    broken: Counter[tuple[str, tuple[str, str]]] = field(default_factory=Counter)

    def add(self, line: Mapping[str, Any]) -> None:
        answers = _answers(line)
        if not answers:
            return
        gold, origin = line["gold"], line["origin"]
        if origin != gold:
            self.samples[gold, origin] += 1
        for rule, answer in answers.items():
            if origin != gold and answer == gold:
                self.mended[rule, (gold, origin)] += 1
            elif origin == gold and answer != gold:
                self.broken[rule, (gold, answer)] += 1

    def side(self, rule: str, pair: tuple[str, str]) -> str:
        """Return the label of a pair that gains more of the other than it loses to it, and more than the other does."""
        here, there = (self.mended[rule, key] - self.broken[rule, key] for key in (pair, pair[::-1]))
        if max(here, there) <= 0 or here == there:
            return ""
        return pair[0] if here > there else pair[1]


def confused_pairs(configuration: Configuration) -> list[ConfusedPair]:
    """Return the pairs of labels that are confused, the most frequent first."""
    counts = _Counts()
    for run in configuration.runs.values():
        for line in predictions(run):
            counts.add(line)
    keys = {*counts.samples, *(key for _, key in counts.broken)}
    pairs = [
        ConfusedPair(
            *key,
            counts.samples[key],
            {rule: counts.mended[rule, key] for rule in RULES},
            {rule: counts.broken[rule, key] for rule in RULES},
            {rule: counts.side(rule, key) for rule in RULES},
        )
        for key in keys
    ]
    return sorted(pairs, key=lambda pair: (-pair.samples, pair.label, pair.other))


def _answers(line: Mapping[str, Any]) -> dict[str, str]:
    """Return the answer of each rule where the sample is hard for any; none where it is easy for all."""
    fitted = line.get("beside", {}).get("fitted")
    if not line["hard"] and not (fitted and fitted["hard"]):
        return {}
    answers = {"rerank": line["rerank"]}
    if fitted:
        answers["fitted"] = fitted["if_hard"] if fitted["hard"] else line["origin"]
    return answers
