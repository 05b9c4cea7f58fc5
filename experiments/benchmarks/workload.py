"""What is measured on: a configuration as `run.py` composes it, and an evenly spaced part of its data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrsl.config import composition
from lrsl.config.schema import Config
from lrsl.data import Corpus, Split, load_corpus

ROOT = Path(__file__).resolve().parents[2]
DATA_DIR = "LRSL_DATA_DIR"
FIXED = ("trainer=cpu", "trainer.progress=false", "logger=csv")


@dataclass(frozen=True)
class Workload:
    """A configuration, and as much of its data as is used."""

    config: Config
    corpus: Corpus


def configured(dataset: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a run on the CPU."""
    return composition.configured([f"dataset={dataset}", *FIXED, *overrides])


def absent(dataset: str) -> str | None:
    """Return in one sentence why a data set cannot be measured on; None where it can."""
    if dataset == "telecom34" or os.environ.get(DATA_DIR):
        return None
    return f"not measured: {DATA_DIR} names no folder that holds {dataset}"


def workload(dataset: str, train: int | None, held_out: int | None) -> Workload:
    """Return a data set's configuration with so many rows of train and so many of val and of test; all for None."""
    config = configured(dataset)
    corpus = load_corpus(config.dataset, config.data_dir)
    parts = {"train": train, "val": held_out, "test": held_out}
    splits: dict[str, Any] = {name: evenly(getattr(corpus, name), n) for name, n in parts.items()}
    return Workload(config, replace(corpus, **splits))


def evenly(split: Split, rows: int | None) -> Split:
    """Return so many rows of a split, evenly spaced, since a file may be sorted by label; all for None."""
    if rows is None or rows >= len(split):
        return split
    return split.take([i * len(split) // rows for i in range(rows)])
