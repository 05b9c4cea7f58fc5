"""What the two trainings share: fused AdamW, clipping, and checkpoints that are there to be loaded."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.nn.utils import clip_grad_norm_

from lrsl.config import EmbeddingConfig, ModelConfig
from lrsl.models.optimisation import adamw


class Stage(pl.LightningModule):
    """A training stage; its `settings` hold weight decay, warm-up and the largest norm of the gradient."""

    settings: ModelConfig | EmbeddingConfig

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
        """Leave the optimiser's state out: the best epoch is there to be tested, at a third of the size."""
        checkpoint["optimizer_states"] = []
        checkpoint["lr_schedulers"] = []
