"""Similarity alone against the classifier: Table 4 on all samples, Table 5 on easy ones."""

from __future__ import annotations

from experiments.runs import significance
from experiments.tables.evidence import Evidence, Notes, Row, seeds_of
from experiments.tables.table import NOTHING, Section, Table, percent, printed, printed_gain, probability

_COLUMNS = ["model", "similarity, paper", "similarity, ours", "classifier, paper", "classifier, ours"]
_COLUMNS += ["difference, paper", "difference, ours", "p", "seeds", "embedding"]
_OURS = (
    "Accuracy in %, of the nearest label in the embedding (similarity) and of the classifier by itself; ours is the "
    "mean ± standard deviation over seeds. The difference is the classifier's less the similarity's; its p is that of "
    "McNemar's test clustered over the test samples, so that what several seeds make of one sample counts once."
)
_EASY = "Each run has its own easy samples: those whose variance is not below the threshold."


def table4(evidence: Evidence) -> Table:
    """Return the accuracy of both on all samples."""
    return _table(evidence, 4, "Similarity alone against the classifier, on all test samples", easy=False)


def table5(evidence: Evidence) -> Table:
    """Return the accuracy of both on easy samples."""
    return _table(evidence, 5, "Similarity alone against the classifier, on easy test samples", easy=True)


def _table(evidence: Evidence, number: int, title: str, *, easy: bool) -> Table:
    notes = Notes(evidence, [_OURS, _EASY] if easy else [_OURS])
    sections = []
    for dataset in evidence.datasets(number):
        rows = [_cells(notes, row, easy=easy) for row in evidence.rows(number, dataset)]
        sections.append(Section(evidence.title(dataset), rows))
    return Table(number, title, _COLUMNS, sections, notes.said)


def _cells(notes: Notes, row: Row, *, easy: bool) -> list[str]:
    similarity, classifier = row.numbers.get("similarity"), row.numbers.get("origin")
    theirs = [printed(similarity), printed(classifier), printed_gain(similarity, classifier)]
    gap = notes.gap(row)
    if gap is not None or row.ours is None:
        ours, ends = [gap or ""] * 3, [NOTHING] * 3
    else:
        part = "accuracy_easy" if easy else "accuracy"
        worth = significance.gain(list(row.ours.runs.values()), "similarity", "origin", easy=easy)
        if worth.unknown is not None:
            notes.of(row, f"p cannot be told, {worth.unknown}")
        ours = [percent(row.ours.values(system, part)) for system in ("similarity", "origin")]
        ours.append(percent(row.ours.differences("similarity", "origin", part), sign=True))
        ends = [probability(worth.p_value), seeds_of(row.ours), row.ours.embedding]
    return [row.name, *(cell for pair in zip(theirs, ours, strict=True) for cell in pair), *ends]
