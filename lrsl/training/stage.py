"""What the two trainings share: fused AdamW, clipping, and checkpoints that are there to be loaded."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.nn.utils import clip_grad_norm_

from lrsl.config.schema import EmbeddingConfig, ModelConfig
from lrsl.nn.optimisation import adamw


class Stage(pl.LightningModule):
    """A training stage; its `settings` hold weight decay, warm-up and the largest norm of the gradient."""

    settings: ModelConfig | EmbeddingConfig

    def __init__(self) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold no frozen weights; `on_load_checkpoint` is strict about the rest

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups with their peak learning rates."""
        raise NotImplementedError

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with its schedule."""
        optimizer, schedule = adamw(
            self.parameter_groups(),
            weight_decay=self.settings.weight_decay,
            steps=int(self.trainer.estimated_stepping_batches),
            warmup=self.settings.warmup,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Switch dropout on: pretrained networks arrive in evaluation mode, and Lightning leaves modes as they are."""
        self.train()

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clip here: under mixed precision Lightning refuses to clip for a fused optimiser, though bfloat16 may."""
        clip_grad_norm_(self.parameters(), self.settings.gradient_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what training changed: the best epoch is there to be tested.

        The optimiser's state would be two thirds of the file. Frozen weights are those of the pretrained network, which
        is loaded from where it came from; of a language model with adapters they are nearly all.
        """
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
        found = checkpoint["state_dict"].keys()
        for what, names in (("lacks", wanted - found), ("holds an unknown", found - here.keys())):
            if names:
                raise RuntimeError(f"the checkpoint {what} {min(names)}: it is that of another network")

    def _frozen(self, state: dict[str, Any]) -> set[str]:
        """Return which entries of a state belong to frozen parameters: the weights and, of 4-bit ones, their scales."""
        parameters = self.named_parameters(remove_duplicate=False)
        names = {name for name, parameter in parameters if not parameter.requires_grad}
        scales = tuple(f"{name}." for name in names)
        return {key for key in state if key in names or key.startswith(scales)}
