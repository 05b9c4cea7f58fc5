"""What the two trainings share: a step's order, and checkpoints that are there to be loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lrsl.errors import InputError
from lrsl.nn import processes

LOOKED_AT = 50
"""Steps after which the loss is looked at where that costs time."""


class TrainingModule(pl.LightningModule, ABC):
    """A network in training; what is trained, and by which recipe, is said by its children.

    Attributes:
        goes_on: whether the checkpoint that is being made is one to go on from, with the optimiser's state.
    """

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = False
        self.strict_loading = False  # checkpoints hold no frozen weights; `on_load_checkpoint` is strict about the rest

    @abstractmethod
    def optimisation(self, steps: int) -> tuple[AdamW, LambdaLR]:
        """Return the optimiser and its schedule over all steps of the training."""

    @abstractmethod
    def clip(self) -> None:
        """Shorten the gradient to the largest norm allowed."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser with its schedule, which moves once per step."""
        optimizer, schedule = self.optimisation(int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Switch dropout on: pretrained networks arrive in evaluation mode, and Lightning leaves modes as they are."""
        self.train()
        self._seed = torch.initial_seed()

    def on_train_epoch_start(self) -> None:
        """Let each of several processes drop out by itself, in a way that the seed, the epoch and its number decide."""
        size, rank = processes.count()
        if size > 1:
            torch.manual_seed(self._seed * 1_000_003 + self.current_epoch * size + rank)

    @property
    def remedy(self) -> str:
        """What to lower where training diverges."""
        return "the learning rate"

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop where the loss is no number any more, which no later step mends.

        Raises:
            InputError: it is none; it says what to lower.
        """
        if self.device.type == "cpu" or batch_idx % LOOKED_AT == 0:  # to look at it, a GPU has to be waited for
            self.check_finite(outputs["loss"] if isinstance(outputs, dict) else outputs, "its loss")

    def check_finite(self, values: Tensor, what: str) -> None:
        """Check that what a network gives are numbers.

        Raises:
            InputError: they are not; it says what to lower.
        """
        if bool(values.isnan().any()) or (what != "its loss" and not bool(values.isfinite().all())):
            stage = f"{self.remedy.partition('.')[0]}: " if "." in self.remedy else ""
            verb = "is" if what == "its loss" else "are"
            raise InputError(
                f"{stage}training diverged in epoch {self.current_epoch + 1}, for {what} {verb} no number any more; "
                f"lower {self.remedy}"
            )

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip here: under mixed precision Lightning refuses to clip for a fused optimiser, though bfloat16 may.

        In float16 the gradient comes scaled, and is clipped at its own size.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            scaler.unscale_(optimizer)
        self.clip()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what training changed: the best epoch is there to be tested, the last one to go on from.

        The optimiser's state would be two thirds of a file that is there to be tested. Frozen weights are those of the
        pretrained network, which is loaded from where it came from; of a language model with adapters they are nearly
        all.
        """
        if not self.goes_on:
            checkpoint["optimizer_states"] = []
            checkpoint["lr_schedulers"] = []
        frozen = self._frozen(checkpoint["state_dict"])
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint holds all that training changed, and nothing else.

        Raises:
            RuntimeError: it does not; it is that of another network.
        """
        here = self.state_dict()
        wanted = here.keys() - self._frozen(here)
        saved = checkpoint["state_dict"].keys()
        for what, names in (("lacks", wanted - saved), ("holds an unknown", saved - here.keys())):
            if names:
                raise RuntimeError(f"the checkpoint {what} {min(names)}: it is that of another network")

    def _frozen(self, state: dict[str, Any]) -> set[str]:
        """Return which entries of a state belong to frozen parameters: the weights and, of 4-bit ones, their scales."""
        parameters = self.named_parameters(remove_duplicate=False)
        names = {name for name, parameter in parameters if not parameter.requires_grad}
        scales = tuple(f"{name}." for name in names)
        return {key for key in state if key in names or key.startswith(scales)}
