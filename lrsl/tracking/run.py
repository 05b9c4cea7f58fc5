"""What every way of tracking a run has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger


class TrackedRun(Protocol):
    """A run from its start to its end, in W&B, TensorBoard or CSV files.

    Attributes:
        shows_images: whether images given to it can be looked at anywhere.
    """

    shows_images: bool

    def start(self) -> Logger:
        """Start the run and return what Trainers log to."""

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table."""

    def images(self, images: Mapping[str, Path]) -> None:
        """Log image files by name."""

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Upload files by the name they get there."""

    def finish(self, status: int) -> None:
        """End the run: 0 if all went well, 128 and a signal's number where it was told to stop, else 1."""
