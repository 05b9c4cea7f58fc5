"""Training the classifier."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

from lrsl.classifiers.network import Network
from lrsl.config.schema import ModelConfig
from lrsl.nn.batches import NOT_COUNTED, Batch, labels_to_count, share_of
from lrsl.nn.optimisation import adamw, trainable
from lrsl.training.module import TrainingModule


class Classifier(TrainingModule):
    """Trains a `Network`, whose head has a learning rate of its own.

    Logs `classifier/train_loss`, `val/loss` and `val/acc`. Validation and test steps return the logits, labels and
    row numbers for `RerankingCallback` to collect.

    Args:
        network: gives logits `(n, classes)` for a batch.
        settings: learning rates, weight decay and warm-up.
        classes: number of labels.
    """

    def __init__(self, network: Network, settings: ModelConfig, classes: int) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.val_accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=NOT_COUNTED)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(n, classes)`, float32."""
        logits: Tensor = self.network(batch)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the network's loss; of several processes the mean is that of the whole batch."""
        loss = self.network.loss(batch) * share_of(batch)
        self.log("classifier/train_loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Batch:
        """Return logits, labels and row numbers."""
        logits = self(batch)
        self.check_finite(logits, "its logits")
        labels = labels_to_count(batch)
        size = int((labels != NOT_COUNTED).sum())
        self.val_accuracy(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, batch["label"]), batch_size=size, sync_dist=True)
        self.log("val/acc", self.val_accuracy, prog_bar=True, batch_size=size)
        return {"logits": logits, "label": batch["label"], "index": batch["index"]}

    def test_step(self, batch: Batch, batch_idx: int) -> Batch:
        """Return logits, labels and row numbers."""
        return {"logits": self(batch), "label": batch["label"], "index": batch["index"]}

    def predict_step(self, batch: Batch, batch_idx: int) -> Batch:
        """Return logits and row numbers."""
        return {"logits": self(batch), "index": batch["index"]}

    @property
    def remedy(self) -> str:
        """What to lower where training diverges."""
        settings = self.settings
        return (
            f"model.lr={settings.lr:g}, model.head_lr={settings.head_lr:g} or "
            f"model.gradient_clip={settings.gradient_clip:g}"
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the head's and all other parameters with their learning rates."""
        head = trainable(self.network.head.parameters())
        in_head = set(map(id, head))
        rest = [parameter for parameter in trainable(self.network.parameters()) if id(parameter) not in in_head]
        return [{"params": rest, "lr": self.settings.lr}, {"params": head, "lr": self.settings.head_lr}]

    def optimisation(self, steps: int) -> tuple[AdamW, LambdaLR]:
        """Return AdamW with its schedule."""
        settings = self.settings
        return adamw(self.parameter_groups(), weight_decay=settings.weight_decay, steps=steps, warmup=settings.warmup)

    def clip(self) -> None:
        """Shorten the gradient to the largest norm allowed."""
        clip_grad_norm_(self.parameters(), self.settings.gradient_clip)
