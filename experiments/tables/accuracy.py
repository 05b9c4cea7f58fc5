"""Accuracy before and after reranking: Tables 1 and 6 on all samples, Tables 2 and 7 on hard ones."""

from __future__ import annotations

from experiments.runs import significance
from experiments.tables.evidence import Evidence, Notes, Row, seeds_of
from experiments.tables.table import NOTHING, Section, Table, interval, percent, printed, printed_gain, probability

_COLUMNS = ["origin, paper", "origin, ours", "rerank, paper", "rerank, ours", "gain, paper", "gain, ours"]
_OURS = (
    "Accuracy in %; ours is the mean ± standard deviation over seeds, the paper's the mean of five seeds. The p of a "
    "gain is that of McNemar's test clustered over the test samples, and its 95 % interval that of a bootstrap "
    "clustered likewise, so that what several seeds make of one sample counts once; p is not corrected for the number "
    "of gains tested."
)
_HARD = "Each run has its own hard samples. Reranking changes them alone, so p is that of the gain on all samples."


def table1(evidence: Evidence) -> Table:
    """Return the accuracy on all samples."""
    return _table(evidence, 1, "Accuracy on all test samples before (origin) and after reranking", hard=False)


def table2(evidence: Evidence) -> Table:
    """Return the accuracy on hard samples."""
    return _table(evidence, 2, "Accuracy on hard test samples before (origin) and after reranking", hard=True)


def table6(evidence: Evidence) -> Table:
    """Return the accuracy on all samples of TSEC."""
    return _table(evidence, 6, "TSEC: accuracy on all test samples before (origin) and after reranking", hard=False)


def table7(evidence: Evidence) -> Table:
    """Return the accuracy on hard samples of TSEC."""
    return _table(evidence, 7, "TSEC: accuracy on hard test samples before (origin) and after reranking", hard=True)


def _table(evidence: Evidence, number: int, title: str, *, hard: bool) -> Table:
    notes = Notes(evidence, [_OURS, _HARD] if hard else [_OURS])
    columns = ["model", *(["hard, paper", "hard, ours"] if hard else []), *_COLUMNS]
    columns += [*([] if hard else ["95 % interval"]), "p", "seeds", "embedding"]
    sections = []
    for dataset in evidence.datasets(number):
        rows = [_cells(notes, row, hard=hard) for row in evidence.rows(number, dataset)]
        sections.append(Section(evidence.title(dataset), rows))
        if dataset in evidence.paper.remarks:
            notes.say(f"{evidence.title(dataset)}: {evidence.paper.remarks[dataset]}.")
    return Table(number, title, columns, sections, notes.said)


def _cells(notes: Notes, row: Row, *, hard: bool) -> list[str]:
    share, before, after = (row.numbers.get(key) for key in ("hard", "origin", "rerank"))
    theirs = [printed(before), printed(after), printed_gain(before, after)]
    gap = notes.gap(row)
    if gap is not None or row.ours is None:
        ours, shares, ends = [gap or ""] * 3, [gap or ""], [NOTHING] * (3 if hard else 4)
    else:
        part = "accuracy_hard" if hard else "accuracy"
        runs = list(row.ours.runs.values())
        worth = significance.gain(runs, "origin", "rerank")
        notes.unknown(row, worth)
        ours = [percent(row.ours.values(system, part)) for system in ("origin", "rerank")]
        ours.append(percent(row.ours.differences("origin", "rerank", part), sign=True))
        if hard and not row.ours.values("origin", part):
            notes.of(row, "no test sample is hard")
        shares = [percent([run.results["hard_fraction"] for run in runs])]
        ends = [probability(worth.p_value), seeds_of(row.ours), row.ours.embedding]
        ends = ends if hard else [interval(worth.low, worth.high), *ends]
    pairs = [cell for pair in zip(theirs, ours, strict=True) for cell in pair]
    return [row.name, *([printed(share), *shares] if hard else []), *pairs, *ends]
