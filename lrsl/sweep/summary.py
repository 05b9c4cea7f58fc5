"""What the runs of a sweep come to: mean ± standard deviation over seeds, per data set and model."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from lrsl.metrics import MeanStd, mean_std
from lrsl.run import results
from lrsl.screen import Screen, literal
from lrsl.text import cell, visible

_LINES = re.compile(r"\s*[\r\n]+\s*")
MARKDOWN = "summary.md"
CSV = "summary.csv"

_MEASURES = {
    "origin": "origin",
    "rerank": "rerank",
    "gain": "gain",
    "fitted": "fitted",
    "fitted_gain": "its gain",
    "control_gain": "control's gain",
    "hard_fraction": "hard",
    "origin_hard": "origin, hard",
    "rerank_hard": "rerank, hard",
    "fitted_hard": "fitted, hard",
    "similarity": "similarity",
    "rerank_val": "rerank, val",
}
"""What is averaged → its heading; all are fractions, shown in %."""

_WHERE_MEASURED = ("fitted", "fitted_gain", "control_gain", "fitted_hard")
"""Shown where some run has it."""

_GAINS = ("gain", "fitted_gain", "control_gain")

_TO_CHOOSE_BY = "rerank_val"
"""Shown where configurations are compared: test is not there to choose by."""

METRICS = {
    "origin": "test/origin_acc",
    "rerank": "test/rerank_acc",
    "gain": "test/gain",
    "fitted": "test/fitted_acc",
    "fitted_gain": "test/fitted_gain",
    "control_gain": "test/control_gain",
    "hard_fraction": "test/hard_fraction",
    "origin_hard": "test/origin_acc_hard",
    "rerank_hard": "test/rerank_acc_hard",
    "fitted_hard": "test/fitted_acc_hard",
    "similarity": "test/similarity_acc",
    "rerank_val": "val/rerank_acc",
}
"""What is averaged → what a run's tracker calls it."""

_SAME_CONFIGURATION = (
    *("dataset", "model", "seed", "rerun", "cache", "cache_dir", "data_dir", "logger", "launcher", "trainer.progress"),
    "trainer.checkpoint_minutes",
)
"""Keys that have a column of their own or change no result: never part of a summary's label."""


@dataclass
class Summary:
    """The runs of one configuration, which differ in the seed alone.

    Attributes:
        dataset: name of the data set; empty for jobs that could not be composed.
        model: name of the classifier.
        label: the overrides that tell this summary from others of the same data set and model.
        values: for each measure the value of each finished run that has it.
        seeds: the seeds of the finished runs.
        failed: what failed and why.
    """

    dataset: str
    model: str
    label: str = ""
    values: dict[str, list[float]] = field(default_factory=lambda: {measure: [] for measure in _MEASURES})
    seeds: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def mean_std(self, measure: str) -> MeanStd | None:
        """Return a measure's mean and standard deviation as fractions; None when no run has it."""
        return mean_std(self.values[measure]) if self.values[measure] else None


def summarise(lines: Sequence[Mapping[str, Any]]) -> list[Summary]:
    """Return a summary per configuration, in the order in which they first ran, from the lines of `runs.jsonl`.

    A line has `overrides` and `status`, and, where the job could be composed, `dataset`, `model`, `configuration`,
    `seed` and `folder`. Of several lines of one run the last counts.
    """
    groups: dict[tuple[str, str, str], dict[Any, Mapping[str, Any]]] = {}
    for number, line in enumerate(lines):
        key = (line.get("dataset", ""), line.get("model", ""), line.get("configuration", ""))
        groups.setdefault(key, {})[line.get("seed", f"line {number}")] = line
    labels = _labels({key: [line["overrides"] for line in runs.values()] for key, runs in groups.items()})
    summaries = []
    for key, runs in groups.items():
        summary = Summary(key[0], key[1], labels[key])
        for seed, line in runs.items():
            content = results.read_figures(Path(line["folder"])) if line["status"] != "failed" else None
            if content is None:
                summary.failed.append(_failure(line))
                continue
            summary.seeds.append(seed)
            for measure, value in _measured(content).items():
                if value is not None:
                    summary.values[measure].append(value)
        summaries.append(summary)
    return summaries


def show(summaries: Sequence[Summary], console: Console | None = None) -> None:
    """Print the summaries as a table, and the failed runs below it."""
    console = console or Screen()
    if not console.is_terminal:
        console.width = max(console.width, 200)  # a file has no edge to wrap at
    table = Table(title="mean ± standard deviation over seeds, in %", title_justify="left", box=box.SIMPLE_HEAD)
    header, *body = _cells(summaries)
    for index, name in enumerate(header):
        table.add_column(literal(name), justify="left" if index < 3 else "right", overflow="fold")
    for cells in body:
        table.add_row(*map(literal, cells))
    if body:
        console.print(table)
    for failure in _failures(summaries):
        console.print(literal(f"failed: {failure}"), soft_wrap=True)


def save(summaries: Sequence[Summary], folder: Path) -> None:
    """Write `summary.md`, to read, and `summary.csv`, with fractions in full precision."""
    header, *body = _cells(summaries)
    aligned = ["---" if index < 3 else "---:" for index in range(len(header))]
    lines = [[_LINES.sub(" ", part).replace("|", "\\|") for part in cells] for cells in (header, aligned, *body)]
    table = [f"| {' | '.join(line)} |" for line in lines]
    failed = [f"- failed: {_LINES.sub(' ', failure)}" for failure in _failures(summaries)]
    text = ["Mean ± standard deviation over seeds, in %.", *table, *failed]
    whole = "\n".join([text[0], "", *table, "", *failed]).rstrip() + "\n"
    (folder / MARKDOWN).write_text(visible(whole), encoding="utf-8")
    with (folder / CSV).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        spread = [f"{measure}_{part}" for measure in _MEASURES for part in ("mean", "std")]
        writer.writerow(["dataset", "model", "configuration", "n", "seeds", "failed", *spread])
        for summary in summaries:
            pairs = [summary.mean_std(measure) or ("", "") for measure in _MEASURES]
            seeds = " ".join(map(str, summary.seeds))
            names = (cell(visible(name)) for name in (summary.dataset, summary.model, summary.label))
            start = [len(summary.seeds), seeds, len(summary.failed)]
            writer.writerow([*names, *start, *(part for pair in pairs for part in pair)])


def _measured(content: Mapping[str, Any]) -> dict[str, float | None]:
    origin, rerank, fitted, control = (content.get(name) for name in ("origin", "rerank", "fitted", "control"))
    assert origin is not None
    assert rerank is not None
    return {
        "origin": origin["accuracy"],
        "rerank": rerank["accuracy"],
        "gain": rerank["accuracy"] - origin["accuracy"],
        "fitted": fitted and fitted["accuracy"],
        "fitted_gain": fitted and fitted["accuracy"] - origin["accuracy"],
        "control_gain": control and control["accuracy"] - origin["accuracy"],
        "hard_fraction": content["hard_fraction"],
        "origin_hard": origin["accuracy_hard"],
        "rerank_hard": rerank["accuracy_hard"],
        "fitted_hard": fitted and fitted["accuracy_hard"],
        "similarity": content["similarity"]["accuracy"],
        "rerank_val": content.get("validation", {}).get("rerank", {}).get("accuracy"),
    }


def _labels(overrides: Mapping[tuple[str, str, str], list[list[str]]]) -> dict[tuple[str, str, str], str]:
    """Return what tells each configuration from the others of its data set and model."""
    telling = {
        key: [override for override in runs[0] if not _of(override, _SAME_CONFIGURATION)]
        for key, runs in overrides.items()
    }
    labels = {}
    for key, own in telling.items():
        siblings = [others for other, others in telling.items() if other[:2] == key[:2]]
        shared = set.intersection(*map(set, siblings))
        labels[key] = " ".join(override for override in own if override not in shared)
        if len(siblings) > 1 and not labels[key] and shared != set(own):
            labels[key] = "default"
    return labels


def _of(override: str, keys: Iterable[str]) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or (name == "logger" and key.startswith("logger.")) for name in keys)


def _failure(line: Mapping[str, Any]) -> str:
    error = line.get("error") or "its results.json is missing or damaged"
    return f"{' '.join(line['overrides']) or 'the only job'}: {error}"


def _failures(summaries: Sequence[Summary]) -> list[str]:
    return [failure for summary in summaries for failure in summary.failed]


def _cells(summaries: Sequence[Summary]) -> list[list[str]]:
    composed = [summary for summary in summaries if summary.dataset]
    labelled = any(summary.label for summary in composed)
    measured = {name for summary in composed for name, values in summary.values.items() if values}
    left_out = {name for name in _WHERE_MEASURED if name not in measured} | (set() if labelled else {_TO_CHOOSE_BY})
    measures = {name: heading for name, heading in _MEASURES.items() if name not in left_out}
    header = ["dataset", "model", *(["configuration"] if labelled else []), "seeds", *measures.values()]
    body = [
        [
            summary.dataset,
            summary.model,
            *([summary.label] if labelled else []),
            str(len(summary.seeds)),
            *(_percent(summary.mean_std(measure), len(summary.values[measure]), measure) for measure in measures),
        ]
        for summary in composed
    ]
    return [header, *body]


def _percent(value: MeanStd | None, n: int, measure: str) -> str:
    if value is None:
        return "–"
    sign = "+" if measure in _GAINS else ""
    spread = f" ± {100 * value.std:.2f}" if n > 1 else ""
    return f"{100 * value.mean:{sign}.2f}{spread}"
