"""A training that is killed goes on from its last epoch, and comes to the same to the last digit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader

from lrsl import stopping
from lrsl.nn import processes, randomness
from lrsl.nn.batches import Batch, LengthBatchSampler
from lrsl.nn.kept import STATE, Kept, copied, size_of
from lrsl.nn.optimisation import trainable
from lrsl.training.module import TrainingModule

SHORT = 1.0  # seconds from an epoch's last step to the next one's first that are waited for, to keep the epoch
OURS = "lrsl"
"""What we add to Lightning's checkpoint: the place in the data, random numbers, what was logged, whether it stopped."""


class History(Logger):
    """Remembers what was logged, beside the logger that shows it."""

    name = "history"
    version = ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, float], int | None]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Remember a row."""
        plain = {name: value if isinstance(value, (int, float)) else float(value) for name, value in metrics.items()}
        self.rows.append((plain, step))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: they are the configuration's."""


class Resuming(Checkpoint):
    """Keeps what a training has reached, and lets it go on from there.

    A state is taken at the end of an epoch, or after a step within a long one, and is kept when the next step begins:
    the random numbers are those that this step draws from, whatever is drawn in between. It is what Lightning keeps in
    a checkpoint, the frozen weights left out, beside the weights of the best epoch so far.

    Args:
        kept: where.
        epochs: most epochs that are trained.
    """

    def __init__(self, kept: Kept, epochs: int) -> None:
        self.kept = kept
        self.epochs = epochs
        self.history = History()
        self._sampler: LengthBatchSampler | None = None
        self._taken: dict[str, Any] | None = None
        self._reached = ""
        self._spent = 0.0
        self._ended = 0.0
        self._pause = math.inf
        self._random: dict[str, Any] | None = None
        self._from: Path | None = None

    def fit(
        self,
        trainer: pl.Trainer,
        module: TrainingModule,
        train: DataLoader[Batch],
        val: DataLoader[Batch] | None = None,
    ) -> None:
        """Train, from where an earlier process was, if one was killed.

        Args:
            trainer: has this callback after all others.
            module: what is trained, untrained.
            train: the batches to learn from.
            val: the batches by which the best epoch is chosen.
        """
        assert isinstance(train.batch_sampler, LengthBatchSampler)
        self._sampler = train.batch_sampler
        found = processes.agreed(lambda: str(self.kept.read() or ""))
        self._from = Path(found) if found else None
        if self._from is None:
            self.kept.expect(3 * size_of(trainable(module.parameters())))
        with stopping.training(lambda: self.kept.reached), warnings.catch_warnings():
            # Lightning cannot know that our sampler begins where it was left
            warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
            state = None if self._from is None else self._from / STATE
            trainer.fit(module, train, val, ckpt_path=state, weights_only=True)
        self.kept.wait()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up what Lightning does not: the place in the data, what was logged, and where the best epoch is now."""
        assert self._from is not None
        assert self._sampler is not None
        ours = checkpoint[OURS]
        self._sampler.epoch, self._sampler.skipped = ours["epoch"], ours["step"]
        random = ours["random"]
        self._random = random[trainer.global_rank] if trainer.global_rank < len(random) else None
        trainer.should_stop = ours["stopped"]
        for metrics, step in ours["history"]:
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step)
        best = _best(trainer)
        if best is not None and best.state_key in checkpoint["callbacks"]:
            checkpoint["callbacks"][best.state_key] = self._moved(
                checkpoint["callbacks"][best.state_key], Path(cast(str, best.dirpath)), copies=trainer.is_global_zero
            )
        if ours["epoch"] < self.epochs and not ours["stopped"] and trainer.is_global_zero:
            within = "within" if ours["step"] else "at"
            print(f"continuing {self.kept.what} {within} epoch {ours['epoch'] + 1} of {self.epochs}", flush=True)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let random numbers go on from where they were, or keep with the state where they are."""
        if self._random is not None:
            randomness.restore(self._random)
            self._random = None
        elif self._taken is not None:
            self._keep(trainer)
        if self._ended and batch_idx == 0:
            self._pause = time.monotonic() - self._ended
        if stopping.asked():
            self.kept.wait()
        stopping.begin_step()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the state of a long epoch, unless it is about to end, or that in which the process is told to stop."""
        self._ended = time.monotonic()
        if not trainer.is_last_batch or self._pause > SHORT:
            stopping.end_step()
        if trainer.is_last_batch:
            if self._pause > SHORT:
                stopping.check()
        elif self._is_due(trainer, whole=False):
            self._take(trainer, step=batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the state of an epoch, when everything else has been done at its end."""
        if self._is_due(trainer, whole=True):
            self._take(trainer, step=0)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the state of the last epoch: what comes after the training may be killed too."""
        if self._taken is not None:
            self._keep(trainer)
        stopping.end_step()
        stopping.check()

    def _is_due(self, trainer: pl.Trainer, *, whole: bool) -> bool:
        due = self.kept.is_due(whole=whole) or stopping.asked()
        return bool(trainer.strategy.broadcast(due)) if trainer.world_size > 1 else due

    def _take(self, trainer: pl.Trainer, *, step: int) -> None:
        module = cast(TrainingModule, trainer.lightning_module)
        assert self._sampler is not None
        module.goes_on = True
        try:
            start = time.monotonic()
            self._taken = copied(trainer._checkpoint_connector.dump_checkpoint(weights_only=False))
            self._spent = time.monotonic() - start
        finally:
            module.goes_on = False
        epoch = self._sampler.epoch - (1 if step else 0)
        self._taken[OURS] = {"epoch": epoch, "step": step, "stopped": trainer.should_stop}
        place = f"step {step} of epoch {epoch + 1}" if step else f"the end of epoch {epoch}"
        self._reached = f"{place} of {self.epochs}"

    def _keep(self, trainer: pl.Trainer) -> None:
        """Keep the state that was taken, with what the next step draws from."""
        taken, self._taken = self._taken, None
        assert taken is not None
        random: list[Any] = [randomness.state()]
        if trainer.world_size > 1:
            random *= trainer.world_size
            torch.distributed.all_gather_object(random, randomness.state())
        taken[OURS] |= {"random": random, "history": list(self.history.rows)}
        if trainer.is_global_zero:
            best = _best(trainer)
            files = [Path(best.best_model_path)] if best is not None and best.best_model_path else []
            self.kept.keep(taken, self._reached, {path.name: path for path in files}, spent=self._spent)

    def _moved(self, state: dict[str, Any], folder: Path, *, copies: bool) -> dict[str, Any]:
        """Return what Lightning's callback keeps of the best epoch, with the file in this process's folder."""
        assert self._from is not None
        if not state["best_model_path"]:
            return {**state, "dirpath": str(folder)}
        path = folder / Path(state["best_model_path"]).name
        if copies:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes((self._from / path.name).read_bytes())
        return {
            **state,
            "dirpath": str(folder),
            "best_model_path": str(path),
            "kth_best_model_path": str(path),
            "best_k_models": {str(path): state["best_model_score"]},
        }


def _best(trainer: pl.Trainer) -> ModelCheckpoint | None:
    return next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)), None)
