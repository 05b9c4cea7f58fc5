"""What a report says of its runs: the tables, and the sentence above them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from experiments.report.confused_pairs import RULES, confused_pairs
from experiments.report.label_changes import LabelChange, label_changes
from experiments.report.table import NOTHING, Cell, Column, Table, number, percent, points, probability, words
from experiments.runs import significance
from experiments.runs.collect import BESIDE
from experiments.runs.configurations import Configuration
from experiments.runs.headings import heading, told_apart
from experiments.runs.significance import Significance

LABELS_SHOWN = 400
PAIRS_SHOWN = 200
CHANCE = 0.05
"""The p-value below which a gain is called more than chance."""


def worth(configuration: Configuration) -> Significance:
    """Return what a configuration's gain is worth, its seeds together."""
    return significance.gain(list(configuration.runs.values()), "origin", "rerank")


def verdict(configurations: Sequence[Configuration]) -> str:
    """Return in a sentence or two what reranking came to."""
    finished = [configuration for configuration in configurations if configuration.runs]
    if not finished:
        return "No run finished, so there is nothing to report but why."
    gains = [mean(configuration.differences("origin", "rerank")) for configuration in finished]
    known = [p_value for configuration in finished if (p_value := worth(configuration).p_value) is not None]
    if len(finished) == 1:
        verb = "raises" if gains[0] > 0 else "lowers" if gains[0] < 0 else "leaves"
        before, after = (f"{100 * mean(finished[0].values(system)):.2f}" for system in ("origin", "rerank"))
        seeds = len(finished[0].runs)
        aside = [f"mean of {seeds} seeds"] if seeds > 1 else ["one seed"]
        if known:
            aside.append(f"p = {probability(known[0]).text}".replace("= <", "<"))
        change = f"from {before} to {after} %" if gains[0] else f"at {before} %"
        return f"Reranking {verb} the accuracy on test {change} ({', '.join(aside)})."
    raised, significant = sum(gain > 0 for gain in gains), sum(p_value < CHANCE for p_value in known)
    return (
        f"Reranking raises the accuracy on test in {raised} of {len(finished)} configurations; the change is "
        f"{points(mean(gains))} points on average, from {points(min(gains))} to {points(max(gains))}. "
        f"In {significant} of {len(known)} it is more than chance (p < {CHANCE})."
    )


def results_table(configurations: Sequence[Configuration]) -> Table:
    """Return origin, rerank and what lies between them, a row per configuration that has a finished run."""
    apart = _apart(configurations)
    columns = [
        *(Column("data set", numeric=False), Column("model", numeric=False), *apart),
        Column("seeds"),
        Column("origin", about="accuracy of the classifier, %"),
        Column("rerank", about="accuracy after reranking its hard samples, %"),
        Column("gain", about="rerank less origin, points"),
        Column("95 % interval", about="of the gain: paired bootstrap over samples, the seeds of a sample together"),
        Column("p", about="McNemar's test, the seeds of a sample together"),
        Column("hard", about="share of test samples that are hard, %"),
        Column("origin, hard", about="accuracy of the classifier on hard samples, %"),
        Column("rerank, hard", about="accuracy after reranking on hard samples, %"),
        Column("similarity", about="accuracy of the most similar label alone, on all samples, %"),
    ]
    rows, notes = [], []
    for configuration in configurations:
        if not configuration.runs:
            continue
        chance = worth(configuration)
        if chance.unknown:
            notes.append(f"{heading(configuration)}: significance is not known, {chance.unknown}.")
        rows.append(
            [
                *(words(configuration.dataset), words(configuration.model), *_apart_cell(configuration, apart)),
                Cell(significance.spans(sorted(configuration.runs)), float(len(configuration.runs))),
                percent(configuration.values("origin")),
                percent(configuration.values("rerank")),
                percent(configuration.differences("origin", "rerank"), signed=True),
                _interval(chance),
                probability(chance.p_value),
                percent([run.results["hard_fraction"] for run in configuration.runs.values()]),
                percent(configuration.values("origin", "accuracy_hard")),
                percent(configuration.values("rerank", "accuracy_hard")),
                percent(configuration.values("similarity")),
            ]
        )
    caption = "Mean ± standard deviation over seeds, in %."
    return Table("results", caption, columns, rows, 2 + len(apart), tuple(notes))


def beside_table(configurations: Sequence[Configuration]) -> Table:
    """Return the fitted rule and the control beside the classifier, a row per configuration that has either."""
    apart = _apart(configurations)
    columns = [
        *(Column("data set", numeric=False), Column("model", numeric=False), *apart),
        Column("system", numeric=False),
        Column("seeds"),
        Column("origin", about="accuracy of the classifier, %"),
        Column("accuracy", about="of the system, which is the classifier's answer where validation refuses it, %"),
        Column("gain", about="points over origin"),
        Column("95 % interval", about="of the gain: paired bootstrap over samples, the seeds of a sample together"),
        Column("p", about="McNemar's test, the seeds of a sample together"),
        Column("pays", about="of how many seeds validation says that it pays"),
        Column("hard", about="share of test samples that it takes for hard, %"),
        Column("views", numeric=False, about="what scores the labels"),
    ]
    rows = []
    for configuration in configurations:
        for system in BESIDE:
            runs = [run for run in configuration.runs.values() if system in run.results]
            if not runs:
                continue
            told = [run.results[system] for run in runs]
            chance = significance.gain(runs, "origin", system)
            gains = [run.results[system]["accuracy"] - run.results["origin"]["accuracy"] for run in runs]
            rows.append(
                [
                    *(words(configuration.dataset), words(configuration.model), *_apart_cell(configuration, apart)),
                    words(system),
                    Cell(significance.spans(sorted(run.seed for run in runs)), float(len(runs))),
                    percent([run.value("origin") for run in runs]),
                    percent([run.value(system) for run in runs]),
                    percent(gains, signed=True),
                    _interval(chance),
                    probability(chance.p_value),
                    Cell(f"{sum(each['pays'] for each in told)} of {len(told)}"),
                    percent([each["hard_fraction"] for each in told]),
                    words(", ".join(told[0]["views"])),
                ]
            )
    caption = (
        "The rule that is fitted on validation, and the control: the same classifier with the next seed in place of "
        "the views, on the samples that the fitted rule takes for hard. A gain below the control's is an ensemble's."
    )
    return Table("beside", caption, columns, rows, 3 + len(apart))


def seeds_table(configurations: Sequence[Configuration]) -> Table:
    """Return a row per finished run."""
    apart = _apart(configurations)
    columns = [
        *(Column("data set", numeric=False), Column("model", numeric=False), *apart),
        Column("seed"),
        Column("origin", about="accuracy of the classifier, %"),
        Column("rerank", about="accuracy after reranking, %"),
        Column("gain", about="points"),
        Column("95 % interval", about="of the gain: paired bootstrap over samples"),
        Column("mended", about="samples that were wrong and are right"),
        Column("broken", about="samples that were right and are wrong"),
        Column("p", about="McNemar's exact test"),
        Column("σ²_mis", about="the threshold: mean variance of the top-k logits of misclassified validation samples"),
        Column("hard", about="share of test samples, %"),
    ]
    rows = []
    for configuration in configurations:
        for seed, run in configuration.runs.items():
            tested = run.results.get("significance", {})
            alone = Significance(tested.get("p_value"), tested.get("gain_low"), tested.get("gain_high"))
            rows.append(
                [
                    *(words(configuration.dataset), words(configuration.model), *_apart_cell(configuration, apart)),
                    number(seed, "d"),
                    percent([run.value("origin")]),
                    percent([run.value("rerank")]),
                    percent(_difference(run.value("origin"), run.value("rerank")), signed=True),
                    _interval(alone),
                    number(tested.get("only_rerank_correct")),
                    number(tested.get("only_origin_correct")),
                    probability(alone.p_value),
                    number(run.results["sigma2_mis"], ".4g"),
                    percent([run.results["hard_fraction"]]),
                ]
            )
    return Table("seeds", "Each seed, in %.", columns, rows, 3 + len(apart))


def labels_table(configurations: Sequence[Configuration]) -> Table:
    """Return a row per label of which reranking mended or broke a sample."""
    several = len({heading(configuration) for configuration in configurations if configuration.runs}) > 1
    columns = [
        Column("label", numeric=False),
        *([Column("runs", numeric=False)] if several else []),
        Column("samples", about="test samples with this label, over all seeds"),
        Column("origin", about="share of them that the classifier gets right, %"),
        Column("rerank", about="share that is right after reranking, %"),
        Column("change", about="points"),
        Column("mended", about="samples that were wrong and are right"),
        Column("broken", about="samples that were right and are wrong"),
    ]
    changes = [
        (heading(configuration), change) for configuration in configurations for change in label_changes(configuration)
    ]
    changes.sort(key=lambda pair: (-abs(pair[1].mended - pair[1].broken) / pair[1].samples, pair[1].label))
    shown = sorted(changes[:LABELS_SHOWN], key=lambda pair: -(pair[1].mended - pair[1].broken) / pair[1].samples)
    rows = [_label_row(change, [words(name)] if several else []) for name, change in shown]
    left_out = len(changes) - len(shown)
    notes = (f"{left_out:,} more, with smaller changes, are left out.",) if left_out else ()
    return Table("labels", "Labels whose samples reranking mended or broke, in %.", columns, rows, 1 + several, notes)


def pairs_table(configurations: Sequence[Configuration]) -> Table:
    """Return a row per pair of a true label and the answer in its place, among hard samples."""
    several = len({heading(configuration) for configuration in configurations if configuration.runs}) > 1
    columns = [
        Column("true label", numeric=False),
        Column("answer", numeric=False, about="what is answered in its place"),
        *([Column("runs", numeric=False)] if several else []),
        Column("confused", about="hard test samples that the classifier gets wrong in this way, over all seeds"),
    ]
    for rule in RULES:
        columns += [
            Column(f"{rule}: mended", about="how many of them are right after it"),
            Column(f"{rule}: broken", about="hard samples that were right, and are wrong in this way after it"),
            Column(f"{rule}: gains", numeric=False, about="the label that wins more of the other than it loses to it"),
        ]
    found = [(heading(each), pair) for each in configurations for pair in confused_pairs(each)]
    found.sort(key=lambda named: -named[1].samples)
    rows = []
    for name, pair in found[:PAIRS_SHOWN]:
        row = [words(pair.label), words(pair.other), *([words(name)] if several else []), number(pair.samples)]
        for rule in RULES:
            row += [number(pair.mended[rule]), number(pair.broken[rule]), words(pair.gains[rule] or "–")]
        rows.append(row)
    left_out = len(found) - len(rows)
    notes = (f"{left_out:,} more, confused less often, are left out.",) if left_out else ()
    caption = "Labels that are confused among hard samples, the fitted rule as if it were deployed."
    return Table("pairs", caption, columns, rows, 2 + several, notes)


def _label_row(change: LabelChange, name: list[Cell]) -> list[Cell]:
    before, after = change.origin / change.samples, change.rerank / change.samples
    return [
        words(change.label),
        *name,
        number(change.samples),
        percent([before]),
        percent([after]),
        percent(_difference(before, after), signed=True),
        number(change.mended),
        number(change.broken),
    ]


def _apart(configurations: Sequence[Configuration]) -> list[Column]:
    """Return a column for what tells configurations of one data set and model apart, where any has to be told."""
    needed = any(told_apart(configuration) for configuration in configurations if configuration.runs)
    return [Column("configuration", numeric=False)] if needed else []


def _apart_cell(configuration: Configuration, apart: list[Column]) -> list[Cell]:
    return [words(", ".join(told_apart(configuration)) or "–")] if apart else []


def _difference(before: float | None, after: float | None) -> list[float | None]:
    return [None if before is None or after is None else after - before]


def _interval(chance: Significance) -> Cell:
    if chance.low is None or chance.high is None:
        return NOTHING
    return Cell(f"{points(chance.low)} to {points(chance.high)}", chance.low)
