"""Table 3: the ablation of semantic mapping, without triplets and without fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.runs import significance
from experiments.runs.configurations import Configuration
from experiments.tables.evidence import NOT_RUN, Evidence, Notes, Row, or_none, seeds_of
from experiments.tables.table import NOTHING, Section, Table, percent, printed, printed_gain, probability

_COLUMNS = ["model", "paper", "ours", "gain over origin, ours", "p of gain"]
_COLUMNS += ["change from full, paper", "change from full, ours", "p of change", "seeds", "embedding"]
_ABLATED = {"without_triplets": "× triplets", "without_finetuning": "× fine-tuning"}
_OURS = (
    "Accuracy in % after reranking, on all test samples; ours is the mean ± standard deviation over seeds. The change "
    "from full is over the seeds that both have. Each p is that of McNemar's test clustered over the test samples, so "
    "that what several seeds make of one sample counts once; p is not corrected for the number of tests."
)
_VARIANTS = (
    "Without triplets the embedding is fine-tuned on pairs of text and label, with the other labels of the batch as "
    "negatives; without fine-tuning it is taken off the shelf. In full its negatives are those named in the last "
    "column, in the paper the confused labels."
)


def table3(evidence: Evidence) -> Table:
    """Return the accuracy after reranking in full, without triplets and without fine-tuning."""
    notes = Notes(evidence, [_OURS, _VARIANTS])
    sections = []
    for dataset in evidence.datasets(3):
        rows = [cells for model in evidence.models(3, dataset) for cells in _rows(notes, dataset, model)]
        sections.append(Section(evidence.title(dataset), rows))
    title = "Ablation of semantic mapping: accuracy after reranking in full, without triplets and without fine-tuning"
    return Table(3, title, _COLUMNS, sections, notes.said)


def _rows(notes: Notes, dataset: str, model: str) -> Iterator[list[str]]:
    evidence = notes.evidence
    numbers = evidence.paper.numbers(3, dataset, model)
    for full, ablated in _blocks(evidence, dataset, model):
        name = evidence.name(model, full)
        yield _cells(notes, Row(dataset, model, name, numbers, full), "full", full)
        if not any(ablated.values()) and evidence.paper.why_not(dataset, model):
            continue
        for variant, mark in _ABLATED.items():
            for ours in or_none(ablated[variant]):
                label = f" ({ours.label})" if ours is not None and len(ablated[variant]) > 1 else ""
                yield _cells(notes, Row(dataset, model, f"{name} {mark}{label}", numbers, ours), variant, full)


def _blocks(
    evidence: Evidence, dataset: str, model: str
) -> Iterator[tuple[Configuration | None, dict[str, list[Configuration]]]]:
    """Return each configuration in full with its ablations by variant, and None with those that belong to none."""
    fulls = evidence.of(dataset, model)
    by_variant = {variant: evidence.of(dataset, model, variant) for variant in _ABLATED}
    for full in fulls:
        ablations = {
            variant: [configuration for configuration in ours if configuration.ablates(full)]
            for variant, ours in by_variant.items()
        }
        yield full, ablations
    rest = {
        variant: [configuration for configuration in ours if not any(configuration.ablates(full) for full in fulls)]
        for variant, ours in by_variant.items()
    }
    if not fulls or any(rest.values()):
        yield None, rest


def _cells(notes: Notes, row: Row, variant: str, full: Configuration | None) -> list[str]:
    theirs = row.numbers.get(variant)
    their_change = printed_gain(row.numbers.get("full"), theirs) if variant != "full" else ""
    gap = notes.gap(row)
    if gap is not None or row.ours is None:
        ours = [gap or "", gap or "", NOTHING]
        changes = [gap or "", NOTHING] if variant != "full" else ["", ""]
        return [row.name, printed(theirs), *ours, their_change, *changes, NOTHING, NOTHING]
    worth = significance.gain(list(row.ours.runs.values()), "origin", "rerank")
    notes.unknown(row, worth)
    gain = [percent(row.ours.differences("origin", "rerank"), sign=True), probability(worth.p_value)]
    changes = _change(notes, row, row.ours, full) if variant != "full" else ["", ""]
    ends = [seeds_of(row.ours), row.ours.embedding]
    return [row.name, printed(theirs), percent(row.ours.values("rerank")), *gain, their_change, *changes, *ends]


def _change(notes: Notes, row: Row, ours: Configuration, full: Configuration | None) -> list[str]:
    if full is None or not full.runs:
        return [NOT_RUN, NOTHING]
    pairs = [(full.runs[seed], run) for seed, run in ours.runs.items() if seed in full.runs]
    if not pairs:
        notes.of(row, "it has no seed in common with the runs in full")
        return [NOTHING, NOTHING]
    worth = significance.between(pairs)
    if worth.unknown is not None:
        notes.of(row, f"p of the change cannot be told, {worth.unknown}")
    change = [after.results["rerank"]["accuracy"] - before.results["rerank"]["accuracy"] for before, after in pairs]
    return [percent(change, sign=True), probability(worth.p_value)]
