"""A sweep's summary as a W&B run of its own, beside the runs it sums up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrsl.config.schema import LoggerConfig
from lrsl.sweep import summary
from lrsl.tracking.masking import masked_command
from lrsl.tracking.wandb_run import Filed, WandbRun

JOB_TYPE = "summary"
TABLE = "sweep_summary"


def track(lines: Sequence[Mapping[str, Any]], rows: Sequence[summary.Row], folder: Path) -> None:
    """Log the summary of a sweep, if one of its runs has just been tracked in W&B and any has finished.

    Args:
        lines: what became of the jobs, as in `runs.jsonl`; those that were tracked have `logger`.
        rows: what the runs came to.
        folder: the sweep's.
    """
    settings = [line["logger"] for line in lines if line.get("logger", {}).get("name") == "wandb"]
    overrides = dict.fromkeys(override for line in lines for override in line["overrides"])
    if settings and any(row.seeds for row in rows):
        track_in_wandb(LoggerConfig(**settings[0]), rows, list(overrides), folder)


def track_in_wandb(settings: LoggerConfig, rows: Sequence[summary.Row], overrides: Sequence[str], folder: Path) -> None:
    """Log means and standard deviations over seeds, as fractions: as summary metrics and as a table.

    A metric is called what it is called in the runs, after data set, model and, where there are several, configuration,
    and before `_mean` or `_std`: `banking77/bert/test/rerank_acc_mean`. The run is in the group of the runs where all
    have the same data set and model, else in one by the name of the data set they share, or in the group `sweeps`.

    Args:
        settings: of the loggers of the runs.
        rows: what the runs came to.
        overrides: all that the command lines of the jobs said, for the run's configuration.
        folder: the sweep's; W&B writes to `<folder>/wandb`.
    """
    named = [row for row in rows if row.seeds]
    datasets = list(dict.fromkeys(row.dataset for row in named))
    models = list(dict.fromkeys(row.model for row in named))
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
        run.finish(failed=False)


def metrics(rows: Sequence[summary.Row]) -> dict[str, float]:
    """Return every mean and standard deviation by its full name, and of how many seeds, failed runs not counted."""
    found: dict[str, float] = {}
    for row in rows:
        parts = [row.dataset, row.model, *([row.label] if row.label else [])]
        # W&B takes a dot for a step into a structure
        place = "/".join(re.sub(r"[^\w/-]+", "_", part) for part in parts)
        found[f"{place}/n_seeds"] = len(row.seeds)
        for measure, name in summary.METRICS.items():
            pair = row.mean_std(measure)
            if pair is not None:
                found |= {f"{place}/{name}_mean": pair.mean, f"{place}/{name}_std": pair.std}
    return found


def table(rows: Sequence[summary.Row]) -> tuple[list[str], list[list[str | float | None]]]:
    """Return columns and rows: a row per configuration."""
    parts = [f"{name}_{part}" for name in summary.METRICS.values() for part in ("mean", "std")]
    columns = ["dataset", "model", "configuration", "seeds", "failed", *parts]
    body: list[list[str | float | None]] = []
    for row in rows:
        pairs = [row.mean_std(measure) or (None, None) for measure in summary.METRICS]
        seeds = " ".join(map(str, row.seeds))
        body.append(
            [row.dataset, row.model, row.label, seeds, len(row.failed), *(value for pair in pairs for value in pair)]
        )
    return columns, body
