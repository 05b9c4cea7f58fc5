"""What stands beside the paper's numbers: our runs by data set and classifier, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from experiments.paper import Paper
from experiments.runs.configurations import Configuration
from experiments.runs.significance import Significance, seeds, spans
from experiments.tables.table import probability

NOT_RUN, DOES_NOT_APPLY, FAILED = "not run", "does not apply", "failed"

_TELLING = 0.01  # a share by which the sizes of data sets may differ without a word; Banking-77's rows are miscounted


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        dataset: its data set, by our name.
        model: its classifier, by our name.
        name: what the row is called.
        numbers: the paper's, by their names in paper.yaml; empty where it has none.
        ours: our runs; None where there are none.
    """

    dataset: str
    model: str
    name: str
    numbers: dict[str, float]
    ours: Configuration | None


@dataclass
class Evidence:
    """Our configurations beside the paper.

    Attributes:
        configurations: ours.
        paper: the paper's numbers.
    """

    configurations: Sequence[Configuration]
    paper: Paper

    def datasets(self, table: int) -> list[str]:
        """Return the data sets of a table: the paper's, then others of ours that no other table is for."""
        own = list(self.paper.tables[table])
        elsewhere = ["tsec3"] if table in (1, 2) else list(self.paper.datasets) if table in (6, 7) else []
        more = sorted({configuration.dataset for configuration in self.configurations}) if table not in (6, 7) else []
        return own + [dataset for dataset in more if dataset not in (*own, *elsewhere)]

    def title(self, dataset: str) -> str:
        """Return a data set's name."""
        return self.paper.datasets.get(dataset) or f"{dataset} (not in the paper)"

    def models(self, table: int, dataset: str) -> list[str]:
        """Return the classifiers of a table on a data set: the paper's, its dashes too, then others of ours."""
        dashes = table in (1, 2, 3)
        own = [
            model
            for model in self.paper.models
            if self.paper.numbers(table, dataset, model) or (dashes and self.paper.why_not(dataset, model))
        ]
        ours = [configuration for configuration in self.configurations if configuration.dataset == dataset]
        more = sorted({configuration.model for configuration in ours})
        return own + [model for model in more if model not in own]

    def of(self, dataset: str, model: str, variant: str = "full") -> list[Configuration]:
        """Return our configurations of a classifier on a data set."""
        return [
            configuration
            for configuration in self.configurations
            if (configuration.dataset, configuration.model, configuration.variant) == (dataset, model, variant)
        ]

    def name(self, model: str, ours: Configuration | None) -> str:
        """Return a classifier's name, and what tells our configuration from others of it."""
        name = self.paper.models.get(model, model)
        return f"{name} ({ours.label})" if ours is not None and ours.label else name

    def rows(self, table: int, dataset: str) -> Iterator[Row]:
        """Return the rows of a table on a data set: one per configuration of ours, or one for the paper alone."""
        for model in self.models(table, dataset):
            numbers = self.paper.numbers(table, dataset, model)
            configurations = self.of(dataset, model)
            if configurations or numbers or self.paper.why_not(dataset, model):
                for ours in or_none(configurations):
                    yield Row(dataset, model, self.name(model, ours), numbers, ours)


@dataclass
class Notes:
    """What is said below a table, each thing once.

    Attributes:
        evidence: what the table is made of.
        said: the sentences.
    """

    evidence: Evidence
    said: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        if sentence not in self.said:
            self.said.append(sentence)

    def of(self, row: Row, sentence: str) -> None:
        """Add a sentence about a row."""
        self.say(f"{self.evidence.title(row.dataset)}, {row.name}: {sentence}.")

    def gap(self, row: Row) -> str | None:
        """Return what stands in our cells of a row without a finished run, and say why; None where there is one."""
        if row.ours is not None and row.ours.runs:
            self._about(row, row.ours)
            return None
        reason = self.evidence.paper.why_not(row.dataset, row.model)
        if reason is not None:
            self.of(row, f"{DOES_NOT_APPLY}: {reason}")
            return DOES_NOT_APPLY
        if row.ours is None:
            return NOT_RUN
        self.of(row, _failures(row.ours))
        return FAILED

    def unknown(self, row: Row, worth: Significance) -> None:
        """Say why a gain's worth is not known, and what the runs say of it one by one."""
        if worth.unknown is None or row.ours is None:
            return
        alone = [run.results.get("significance", {}).get("p_value") for run in row.ours.runs.values()]
        known = f"; McNemar's p of each seed: {', '.join(map(probability, alone))}" if None not in alone else ""
        self.of(row, f"p over the seeds together cannot be told, {worth.unknown}{known}")

    def _about(self, row: Row, ours: Configuration) -> None:
        if ours.telling and ours.label not in (f"{key}={value}" for key, value in ours.telling.items()):
            self.of(row, ", ".join(f"{key}={value}" for key, value in ours.telling.items()))
        if ours.failed:
            self.of(row, _failures(ours))
        siblings = [
            configuration
            for configuration in self.evidence.configurations
            if (configuration.dataset, configuration.model) == (row.dataset, row.model)
        ]
        expected = {seed for configuration in siblings for seed in configuration.runs}
        expected |= set(range(min(ours.runs), max(ours.runs)))
        missing = sorted(expected - ours.runs.keys() - ours.failed.keys())
        if missing:
            self.of(row, f"{seeds(missing)} {'are' if len(missing) > 1 else 'is'} missing")
        self._sizes(row, ours)

    def _sizes(self, row: Row, ours: Configuration) -> None:
        theirs = self.evidence.paper.tables[8].get(row.dataset, {})
        model = self.evidence.name(row.model, None)
        for part, verb in (("train", "trained"), ("test", "tested")):
            for size in sorted({run.results[f"n_{part}"] for run in ours.runs.values()}):
                if part in theirs and abs(size - theirs[part]) > _TELLING * theirs[part]:
                    said = f"{verb} on {size:,} samples (the paper: {theirs[part]:,})"
                    self.say(f"{self.evidence.title(row.dataset)}, {model}: {said}.")


def or_none(configurations: Sequence[Configuration]) -> list[Configuration | None]:
    """Return the configurations, or None alone where there are none, for the row that says so."""
    return [*configurations] or [None]


def seeds_of(ours: Configuration) -> str:
    """Return how many seeds there are, and which."""
    return f"{len(ours.runs)} ({spans(list(ours.runs))})"


def _failures(ours: Configuration) -> str:
    n = len(ours.runs) + len(ours.failed)
    reasons = "; ".join(f"seed {seed}: {run.error}" for seed, run in ours.failed.items())
    return f"{len(ours.failed)} of {n} seed{'s' if n > 1 else ''} failed: {reasons.rstrip('.')}"
