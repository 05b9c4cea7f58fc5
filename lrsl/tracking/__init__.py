"""Where metrics go besides results.json: Weights & Biases, TensorBoard, or plain CSV files.

One `Tracker` is one run of one configuration; every Trainer of that run logs through it. W&B never asks a question and
never holds a run up: without a key or a network it writes to disk and says how to upload that later.

Nor does tracking ever end a run: whatever goes wrong is said in a line, and the run goes on without it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pytorch_lightning.loggers import Logger

from lrsl import stopping
from lrsl.config.schema import Config
from lrsl.errors import InputError
from lrsl.masking import masked
from lrsl.nn import processes
from lrsl.tracking.csv_run import CsvRun
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
        logger: what the Trainers of the run log to; there from entering to leaving, None where nothing can be logged.

    Raises:
        InputError: on entering, when W&B does not take the project or the entity, WANDB_MODE is unknown, or TensorBoard
            is not installed.
    """

    logger: Logger | None

    def __init__(self, config: Config, folder: Path) -> None:
        self._run = _run(config, folder)
        self._lost = False

    def __enter__(self) -> Tracker:
        self.logger = None
        with self._worth_a_line():
            self.logger = self._run.start()
            self._guard(self.logger)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self.logger
        status = error.status if isinstance(error, stopping.Stopped) else int(kind is not None)
        lost, self._lost = self._lost, False  # what has been logged is worth being kept
        with self._worth_a_line(said=lost):
            self._run.finish(status)

    @property
    def shows_images(self) -> bool:
        """Whether it is worth making images."""
        return self._run.shows_images and not self._lost

    def summary(self, metrics: Mapping[str, float | int | str]) -> None:
        """Log what the run comes down to, such as `test/origin_acc`."""
        with self._worth_a_line():
            if not self._lost:
                self._run.summary(metrics)

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Log a table, such as the hard samples before and after reranking."""
        with self._worth_a_line():
            if not self._lost:
                self._run.table(name, columns, rows)

    def images(self, images: Mapping[str, Path]) -> None:
        """Log image files by name, such as `figures/figure4-marginal-effect`."""
        with self._worth_a_line():
            if not self._lost:
                self._run.images(images)

    def artifact(self, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Upload files, such as those of the reranker, by the name they get there.

        Args:
            kind: what they are: `classifier` or `reranker`.
            files: each file by its path in the artifact.
            metadata: what is to be known of them, plain data.
        """
        with self._worth_a_line():
            if not self._lost:
                self._run.artifact(kind, files, metadata)

    def _guard(self, logger: Logger) -> None:
        """Let what Trainers call of a logger fail without ending the training."""
        weak = weakref.ref(logger)

        def guarded(name: str) -> Callable[..., None]:
            method = getattr(type(logger), name)

            @functools.wraps(method)
            def call(*args: Any, **kwargs: Any) -> None:
                with self._worth_a_line():
                    if not self._lost:
                        method(weak(), *args, **kwargs)

            return call

        for name in ("log_metrics", "log_hyperparams", "save", "finalize"):
            setattr(logger, name, guarded(name))

    @contextmanager
    def _worth_a_line(self, said: bool = False) -> Iterator[None]:
        """Say in a line what goes wrong inside, after which nothing is logged any more."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if not (said or self._lost):
                reason = " ".join(masked(str(error)).split())[:500] or type(error).__name__
                print(f"The run is not tracked any further: {reason}.", flush=True)
            self._lost = True


def _run(config: Config, folder: Path) -> TrackedRun:
    if not processes.leads():
        return Untracked()
    if config.logger.name == "wandb":
        return WandbRun(config.logger, filed(config), folder)
    return TensorBoardRun(config, folder) if config.logger.name == "tensorboard" else CsvRun(folder)
