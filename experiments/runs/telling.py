"""The hard samples that tell most of what reranking did: those whose answer it changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading
from experiments.runs.predictions import predictions

MENDED, BROKEN, MOVED = "mended", "broken", "still wrong"


@dataclass(frozen=True)
class TellingSample:
    """A hard sample whose answer reranking changed.

    Attributes:
        dataset: name of its data set.
        configuration: what the runs are called.
        kind: `mended` (wrong → right), `broken` (right → wrong) or `still wrong` (wrong → another wrong answer).
        seeds: in how many seeds it changed in this way.
        of_seeds: how many seeds there are.
        seed: the seed that is shown, the most decided one.
        line: its line in predictions.jsonl.
    """

    dataset: str
    configuration: str
    kind: str
    seeds: int
    of_seeds: int
    seed: int
    line: Mapping[str, Any]


def telling(configurations: Sequence[Configuration]) -> list[TellingSample]:
    """Return the hard samples whose answers changed, the most telling first.

    What stays wrong tells least. Else what changed in more of the seeds tells more; then, what reranking decided more
    clearly.
    """
    samples = [sample for configuration in configurations for sample in _changed(configuration)]
    return sorted(samples, key=_order)


def shortened(samples: Sequence[TellingSample], limit: int) -> list[TellingSample]:
    """Return at most so many of the samples, in their order.

    What is still wrong goes first. What reranking broke is never left out in favour of what it mended: a third of the
    places is kept for it.
    """
    of_kind = {kind: [sample for sample in samples if sample.kind == kind] for kind in (MENDED, BROKEN, MOVED)}
    broken = of_kind[BROKEN][: max(limit - len(of_kind[MENDED]), -(-limit // 3))]
    mended = of_kind[MENDED][: limit - len(broken)]
    moved = of_kind[MOVED][: limit - len(broken) - len(mended)]
    chosen = {id(sample) for sample in (*broken, *mended, *moved)}
    return [sample for sample in samples if id(sample) in chosen]


def kind_of(line: Mapping[str, Any]) -> str:
    """Return what reranking did to a sample whose answer it changed."""
    if line["rerank"] == line["gold"]:
        return MENDED
    return BROKEN if line["origin"] == line["gold"] else MOVED


def lead(line: Mapping[str, Any]) -> float:
    """Return how far the first label lies before the second after reranking, as a fraction of the first's score."""
    scores = [score for _, score in line["top_k_after"]]
    return (scores[0] - scores[1]) / scores[0] if len(scores) > 1 and scores[0] > 0 else 0.0


def _order(sample: TellingSample) -> tuple[bool, float, float, str]:
    share = sample.seeds / sample.of_seeds
    return sample.kind == MOVED, -share, -lead(sample.line), str(sample.line["id"])


def _changed(configuration: Configuration) -> list[TellingSample]:
    changes: dict[tuple[Any, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    of_seeds = 0
    for seed, run in configuration.runs.items():
        lines = predictions(run)
        of_seeds += bool(lines)
        for line in lines:
            if line["hard"] and line["origin"] != line["rerank"]:
                changes[line["id"], kind_of(line)].append((seed, line))
    samples = []
    for (_, kind), of_sample in changes.items():
        seed, shown = max(of_sample, key=lambda change: lead(change[1]))
        name = heading(configuration)
        samples.append(TellingSample(configuration.dataset, name, kind, len(of_sample), of_seeds, seed, shown))
    return samples
