"""A run in plain CSV files."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only

from lrsl.text import cell


class CsvRun:
    """Writes `metrics.csv` and `<table>.csv` into the run's folder; of images and artifacts it takes no notice."""

    shows_images = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logger: CSVLogger | None = None

    def start(self) -> Logger:
        """Start the run and return what Trainers log to."""
        self._logger = CSVLogger(self._folder, name="", version="")
        with warnings.catch_warnings():  # it warns that it replaces metrics.csv, which is what a rerun should do
            warnings.filterwarnings("ignore", "Experiment logs directory")
            _ = self._logger.experiment
        return self._logger

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to, as a row of its own."""
        if self._logger is not None:
            self._logger.log_metrics(dict(metrics))  # type: ignore[arg-type]  # strings are written as they are

    @rank_zero_only
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table, whose cells no spreadsheet computes; `lrsl.text.from_cell` gives back what was written."""
        with (self._folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([[cell(value) for value in row] for row in (columns, *rows)])

    def images(self, images: Mapping[str, Path]) -> None:
        """Do nothing."""

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Do nothing: the files are there."""

    def finish(self, status: int) -> None:
        """Write what is left to be written."""
        if self._logger is not None:
            self._logger.finalize("failed" if status else "success")
        self._logger = None
