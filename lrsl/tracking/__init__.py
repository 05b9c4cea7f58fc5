"""Where metrics go besides results.json: Weights & Biases, TensorBoard, or plain CSV files.

One `Tracker` is one run of one configuration; every Trainer of that run logs through it. W&B never asks a question and
never holds a run up: without a key or a network it writes to disk and says how to upload that later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pytorch_lightning.loggers import Logger

from lrsl.config.schema import Config
from lrsl.nn import processes
from lrsl.tracking.csv_run import CsvRun
from lrsl.tracking.masking import masked
from lrsl.tracking.run import TrackedRun
from lrsl.tracking.tensorboard_run import TensorBoardRun
from lrsl.tracking.untracked import Untracked
from lrsl.tracking.wandb_run import WandbRun, filed

__all__ = ["Tracker", "masked"]


class Tracker:
    """A run's metrics, summary, tables and images, where `logger=` says: `wandb`, `tensorboard` or `csv` files.

    A context manager: the run starts on entering and is finished on leaving, as failed if an exception passes through.
    Two trackers are two runs, in one process as in two.

    Args:
        config: the run's configuration.
        folder: the run's folder; W&B writes to `<folder>/wandb`, TensorBoard to `<folder>/tensorboard`, CSV files are
            `<folder>/metrics.csv` and `<folder>/<table>.csv`.

    Attributes:
        logger: what the Trainers of the run log to; there from entering to leaving.

    Raises:
        InputError: on entering, when W&B does not take the project or the entity, WANDB_MODE is unknown, or TensorBoard
            is not installed.
    """

    logger: Logger

    def __init__(self, config: Config, folder: Path) -> None:
        self._run = _run(config, folder)

    def __enter__(self) -> Tracker:
        self.logger = self._run.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self.logger
        self._run.finish(failed=kind is not None)

    @property
    def shows_images(self) -> bool:
        """Whether it is worth making images."""
        return self._run.shows_images

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to, such as `test/origin_acc`."""
        self._run.summary(metrics)

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Log a table, such as the hard samples before and after reranking."""
        self._run.table(name, columns, rows)

    def images(self, images: Mapping[str, Path]) -> None:
        """Log image files by name, such as `figures/figure4-marginal-effect`."""
        self._run.images(images)

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Upload files, such as those of the reranker, by the name they get there.

        Args:
            kind: what they are: `classifier` or `reranker`.
            files: each file by its path in the artifact.
            metadata: what is to be known of them, plain data.
        """
        self._run.artifact(kind, files, metadata)


def _run(config: Config, folder: Path) -> TrackedRun:
    if not processes.leads():
        return Untracked()
    if config.logger.name == "wandb":
        return WandbRun(config.logger, filed(config), folder)
    return TensorBoardRun(config, folder) if config.logger.name == "tensorboard" else CsvRun(folder)
