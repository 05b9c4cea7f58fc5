"""A run in TensorBoard's event files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from lrsl.config.schema import Config
from lrsl.errors import InputError
from lrsl.tracking.masking import plain

FOLDER = "tensorboard"


class TensorBoardRun:
    """Writes into `<folder>/tensorboard`: the summary as scalars beside the configuration, tables as Markdown.

    Args:
        config: the run's configuration.
        folder: the run's folder.
    """

    shows_images = True

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = plain(config)
        self._folder = folder
        self._logger: TensorBoardLogger | None = None

    def start(self) -> Logger:
        """Start the run and return what Trainers log to.

        Raises:
            InputError: TensorBoard is not installed.
        """
        for left in (self._folder / FOLDER).glob("events.out.tfevents.*"):  # TensorBoard would show both runs as one
            left.unlink()
        try:
            self._logger = TensorBoardLogger(self._folder, name="", version=FOLDER, default_hp_metric=False)
            _ = self._logger.experiment
        except ModuleNotFoundError:
            raise InputError(
                "logger=tensorboard needs a package that is not installed; pip install 'lrsl[tensorboard]' adds it"
            ) from None
        self._text("configuration", f"```yaml\n{yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)}```")
        return self._logger

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to: numbers as scalars, by which the HPARAMS tab compares runs; the rest as text.

        The configuration's own numbers and words are the columns beside them.
        """
        if self._logger is None:
            return
        numbers = {name: float(value) for name, value in metrics.items() if not isinstance(value, str)}
        self._logger.log_hyperparams(dict(_flat(self._config)), numbers)
        for name, value in metrics.items():
            if isinstance(value, str):
                self._text(name, _literal(value))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table as Markdown."""
        lines = [list(columns), ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
        self._text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines))

    @rank_zero_only
    def images(self, images: Mapping[str, Path]) -> None:
        """Log image files by name."""
        from PIL import Image  # noqa: PLC0415  (comes with what draws them)

        if self._logger is not None:
            for name, path in images.items():
                with Image.open(path) as image:
                    self._logger.experiment.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Do nothing: the files are there."""

    def finish(self, status: int) -> None:
        """Write what is left to be written."""
        if self._logger is not None:
            self._logger.finalize("failed" if status else "success")
        self._logger = None

    @rank_zero_only
    def _text(self, name: str, text: str) -> None:
        if self._logger is not None:
            self._logger.experiment.add_text(name, text)


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of a configuration by full key, those that HPARAMS can compare."""
    pairs: list[tuple[str, Any]] = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (bool, int, float, str)):
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _cell(value: Any) -> str:
    return _literal(str(value)).replace("|", "\\|").replace("\n", " ")


def _literal(text: str) -> str:
    """Return Markdown that is shown as the text, which is a label's, a sample's or a sentence's."""
    marked = re.sub(r"([\\`*\[\]#]|\b_|_\b)", r"\\\1", text)
    return marked.replace("&", "&amp;").replace("<", "&lt;")
