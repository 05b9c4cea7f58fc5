"""A Lightning trainer for one stage: its hardware, its progress bar, its best epoch."""

from __future__ import annotations

import logging
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]

from lrsl.config.schema import TrainerConfig
from lrsl.errors import InputError
from lrsl.nn import processes
from lrsl.nn.precision import native_precision
from lrsl.training.resuming import Resuming
from lrsl.training.strategies import like, placed

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
# batches come from memory, tokenised: more workers would only copy them
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
warnings.filterwarnings("ignore", message=".*The number of training batches.*is smaller than the logging interval.*")
# our sampler returns every row once
warnings.filterwarnings("ignore", message=".*You are using a custom batch sampler.*")
# what is trained for a number of epochs that is known validates nothing
warnings.filterwarnings("ignore", message=".*You defined a `validation_step` but have no `val_dataloader`.*")
# one process per job, whatever starts it; a machine that has Slurm does not have to use it
warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
# what the leading process logs it has from all processes, or computes alone
warnings.filterwarnings("ignore", message=".*It is recommended to use `self.log.*sync_dist=True.*")
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


class StopAfter(Callback):
    """Ends a training after some of the epochs that its schedule is planned over."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop when it is time."""
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True


class StageProgress(TQDMProgressBar):
    """A progress bar that names the stage; one line per epoch where there is no terminal to draw on."""

    def __init__(self, stage: str, epochs: int) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else 0, leave=False)
        self.stage = stage
        self.epochs = epochs

    def on_train_start(self, *arguments: Any) -> None:
        """Name them for a training that goes on within an epoch, which does not begin."""
        super().on_train_start(*arguments)
        self.train_progress_bar.set_description(f"{self.stage}, epoch {arguments[0].current_epoch + 1}/{self.epochs}")

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Name the stage and the epoch in front of the bar."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description(f"{self.stage}, epoch {trainer.current_epoch + 1}/{self.epochs}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went where no bar is drawn."""
        super().on_train_epoch_end(trainer, pl_module)
        if not sys.stderr.isatty() and trainer.is_global_zero:
            shown = {k: f"{v:.4f}" for k, v in self.get_metrics(trainer, pl_module).items() if isinstance(v, float)}
            told = ", ".join(f"{key} {value}" for key, value in shown.items())
            print(f"{self.stage}, epoch {trainer.current_epoch + 1}/{self.epochs}: {told}", flush=True)

    def init_validation_tqdm(self) -> Any:
        """Name the stage in front of the validation bar."""
        bar = super().init_validation_tqdm()
        bar.set_description(f"{self.stage}, validation")
        return bar

    def init_test_tqdm(self) -> Any:
        """Name the stage in front of the test bar."""
        bar = super().init_test_tqdm()
        bar.set_description(self.stage)
        return bar

    def init_predict_tqdm(self) -> Any:
        """Name the stage in front of the prediction bar."""
        bar = super().init_predict_tqdm()
        bar.set_description(self.stage)
        return bar


def precision(config: TrainerConfig) -> str:
    """Return the precision of a run.

    Raises:
        InputError: the device does not compute in it.
    """
    if config.precision == "16-mixed" and (kind := device(config)) != "cuda":
        raise InputError(f"trainer.precision=16-mixed needs a CUDA GPU, and this run is on {kind}; set it to auto")
    return native_precision(config.accelerator) if config.precision == "auto" else config.precision


def device(trainer: TrainerConfig) -> str:
    """Return the kind of device a run computes on."""
    if trainer.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return "cuda" if trainer.accelerator == "gpu" else trainer.accelerator


def machine(config: TrainerConfig) -> str:
    """Return the class of machine a run computes on, as in `NVIDIA H200, 16 CPU cores, x86_64`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    kind = device(config)
    gpu = {"cuda": torch.cuda.get_device_name, "mps": lambda: "Apple GPU"}.get(kind, lambda: "")()
    return ", ".join(filter(None, [gpu, f"{cores} CPU core{'s' if cores > 1 else ''}", platform.machine()]))


def build_trainer(
    config: TrainerConfig,
    stage: str,
    folder: Path,
    *,
    epochs: int = 1,
    monitor: str | None = None,
    patience: int = 1,
    stop_after: int | None = None,
    logger: Logger | None = None,
    callbacks: list[Callback] | None = None,
    resuming: Resuming | None = None,
    shards: bool = False,
) -> pl.Trainer:
    """Return the trainer of one stage.

    Args:
        config: hardware, precision, progress.
        stage: what the progress bar says.
        folder: where the best checkpoint is kept.
        epochs: most epochs, over which the learning rate is planned.
        monitor: validation metric whose highest value marks the best epoch; None keeps no checkpoint.
        patience: epochs without a better value after which training stops.
        stop_after: epochs after which training stops in any case.
        logger: where metrics go.
        callbacks: more callbacks.
        resuming: keeps what the training has reached.
        shards: whether the network may be sharded among the processes, as `trainer.strategy=fsdp` says.

    Raises:
        InputError: this machine has no such accelerator, or not as many devices.
    """
    callbacks = list(callbacks or [])
    if monitor is not None:
        callbacks += [
            EarlyStopping(monitor, mode="max", patience=patience),
            ModelCheckpoint(folder, filename="best", monitor=monitor, mode="max", enable_version_counter=False),
        ]
    if stop_after is not None:
        callbacks.append(StopAfter(stop_after))
    progress = config.progress and processes.leads()
    if progress:
        callbacks.append(StageProgress(stage, stop_after or epochs))
    if resuming is not None:
        callbacks.append(resuming)  # last: it keeps what the others have come to
    try:
        trainer = pl.Trainer(
            accelerator=config.accelerator,
            **placed(config, shards=shards),
            precision=cast(Any, precision(config)),
            max_epochs=epochs,
            logger=False if logger is None else logger if resuming is None else [logger, resuming.history],
            callbacks=callbacks,
            enable_checkpointing=monitor is not None or resuming is not None,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
    except MisconfigurationException as error:
        reason = " ".join(str(error).split())
        raise InputError(f"trainer.accelerator={config.accelerator} does not work here: {reason}") from None
    # Lightning's handler of SIGTERM ends a run as if all were done, and of several processes waits in it for the others
    cast(Any, trainer)._signal_connector.register_signal_handlers = _leave_signals
    return trainer


def _leave_signals() -> None:
    """Do nothing: what becomes of a run that is told to stop is not a trainer's to say."""


def best_checkpoint(trainer: pl.Trainer) -> str:
    """Return the path of the best epoch."""
    assert trainer.checkpoint_callback is not None
    return str(cast(Any, trainer.checkpoint_callback).best_model_path)


def epoch_of(checkpoint: Path) -> int:
    """Return which epoch a checkpoint is of, 1 for the first."""
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["epoch"]) + 1


def load_best(module: pl.LightningModule, checkpoint: Path) -> None:
    """Load the weights of a checkpoint."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    module.on_load_checkpoint(saved)
    here = module.state_dict()
    weights = {name: like(value, here[name]) for name, value in saved["state_dict"].items()}
    module.load_state_dict(weights, strict=module.strict_loading)
