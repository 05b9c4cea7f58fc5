"""Fine-tuning the text embedding (section 3.1)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from lrsl.config.schema import EmbeddingConfig
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.nn.batches import Batch
from lrsl.nn.optimisation import trainable
from lrsl.training.stage import Stage


class EmbeddingTrainer(Stage):
    """Trains a `LabelRanking`.

    Logs `embedding/train_loss` and `embedding/val_acc`, the share of texts whose nearest label is their own.

    Args:
        ranking: the embedding with its labels and its loss.
    """

    def __init__(self, ranking: LabelRanking) -> None:
        super().__init__()
        self.ranking = ranking
        self.settings: EmbeddingConfig = ranking.settings
        self.val_accuracy = MulticlassAccuracy(len(ranking.label_ids), average="micro")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss."""
        loss: Tensor = self.ranking(batch)
        self.log("embedding/train_loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Encode every label once for the epoch."""
        self.label_vectors = self.ranking.encode_labels(range(len(self.ranking.label_ids)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Compare each text's nearest label with its own."""
        texts = self.ranking.encode(batch)
        self.val_accuracy(self.ranking.similarity(texts, self.label_vectors), batch["label"])
        self.log("embedding/val_acc", self.val_accuracy, prog_bar=True, batch_size=len(texts))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the embedding's parameters with their learning rate."""
        return [{"params": trainable(self.ranking.parameters()), "lr": self.settings.lr}]
