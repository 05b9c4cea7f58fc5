"""A sweep's summary as a W&B run of its own, beside the runs it sums up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsl.config.schema import LoggerConfig
from lrsl.masking import masked_command
from lrsl.sweep.summary import METRICS, Summary

JOB_TYPE = "summary"
TABLE = "sweep_summary"


def track(lines: Sequence[Mapping[str, Any]], summaries: Sequence[Summary], folder: Path) -> None:
    """Log the summary of a sweep, if one of its runs has just been tracked in W&B and any has finished.

    Args:
        lines: what became of the jobs, as in `runs.jsonl`; those that were tracked have `logger`.
        summaries: what the runs came to.
        folder: the sweep's.
    """
    settings = [line["logger"] for line in lines if line.get("logger", {}).get("name") == "wandb"]
    overrides = dict.fromkeys(override for line in lines for override in line["overrides"])
    if settings and any(summary.seeds for summary in summaries):
        track_in_wandb(LoggerConfig(**settings[0]), summaries, list(overrides), folder)


def track_in_wandb(
    settings: LoggerConfig, summaries: Sequence[Summary], overrides: Sequence[str], folder: Path
) -> None:
    """Log means and standard deviations over seeds, as fractions: as summary metrics and as a table.

    A metric is called what it is called in the runs, after data set, model and, where there are several, configuration,
    and before `_mean` or `_std`: `banking77/bert/test/rerank_acc_mean`. The run is in the group of the runs where all
    have the same data set and model, else in one by the name of the data set they share, or in the group `sweeps`.

    Args:
        settings: of the loggers of the runs.
        summaries: what the runs came to.
        overrides: all that the command lines of the jobs said, for the run's configuration.
        folder: the sweep's; W&B writes to `<folder>/wandb`.
    """
    # it loads torch, for which a sweep that is tracked elsewhere need not wait
    from lrsl.tracking.wandb_run import Filed, WandbRun  # noqa: PLC0415

    named = [summary for summary in summaries if summary.seeds]
    datasets = list(dict.fromkeys(summary.dataset for summary in named))
    models = list(dict.fromkeys(summary.model for summary in named))
    run = WandbRun(
        settings,
        Filed(
            group="/".join([*datasets, *(models if len(models) == 1 else [])]) if len(datasets) == 1 else "sweeps",
            job_type=JOB_TYPE,
            name=folder.name[:128],
            tags=[*datasets, *models, *settings.tags],
            config={"overrides": masked_command([*overrides]), "sweep": folder.name},
        ),
        folder,
    )
    run.start()
    try:
        run.summary(metrics(named))
        columns, body = table(named)
        run.table(TABLE, columns, body)
    finally:
        run.finish(0)


def metrics(summaries: Sequence[Summary]) -> dict[str, float]:
    """Return every mean and standard deviation by its full name, and of how many seeds, failed runs not counted."""
    values: dict[str, float] = {}
    for summary in summaries:
        parts = [summary.dataset, summary.model, *([summary.label] if summary.label else [])]
        # W&B takes a dot for a step into a structure
        place = "/".join(re.sub(r"[^\w/-]+", "_", part) for part in parts)
        values[f"{place}/n_seeds"] = len(summary.seeds)
        for measure, name in METRICS.items():
            pair = summary.mean_std(measure)
            if pair is not None:
                values |= {f"{place}/{name}_mean": pair.mean, f"{place}/{name}_std": pair.std}
    return values


def table(summaries: Sequence[Summary]) -> tuple[list[str], list[list[str | float | None]]]:
    """Return columns and rows: a row per configuration."""
    parts = [f"{name}_{part}" for name in METRICS.values() for part in ("mean", "std")]
    columns = ["dataset", "model", "configuration", "seeds", "failed", *parts]
    body: list[list[str | float | None]] = []
    for summary in summaries:
        pairs = [summary.mean_std(measure) or (None, None) for measure in METRICS]
        seeds = " ".join(map(str, summary.seeds))
        body.append(
            [
                summary.dataset,
                summary.model,
                summary.label,
                seeds,
                len(summary.failed),
                *(value for pair in pairs for value in pair),
            ]
        )
    return columns, body
