"""A run in a process that leaves tracking to the one that leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger


class Untracked:
    """Does nothing; its logger takes all that Trainers log, so that they take the same steps in all processes."""

    shows_images = False

    def start(self) -> Logger:
        """Return a logger that writes nothing."""
        return DummyLogger()

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Do nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Do nothing."""

    def images(self, images: Mapping[str, Path]) -> None:
        """Do nothing."""

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Do nothing."""

    def finish(self, status: int) -> None:
        """Do nothing."""
