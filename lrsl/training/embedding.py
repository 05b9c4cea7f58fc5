"""Fine-tuning the text embedding (section 3.1)."""

from __future__ import annotations

from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

from lrsl.embedding.finetuning import Recipe
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.nn.batches import NOT_COUNTED, Batch, labels_to_count, share_of
from lrsl.training.module import TrainingModule


class EmbeddingTrainer(TrainingModule):
    """Trains a `LabelRanking` by the one recipe there is.

    Logs `embedding/train_loss` and `embedding/val_acc`, the share of texts whose nearest label is their own.

    Args:
        ranking: the embedding with its labels and its loss.
    """

    def __init__(self, ranking: LabelRanking) -> None:
        super().__init__()
        self.ranking = ranking
        self.settings = ranking.settings
        self.recipe = Recipe(ranking)
        classes = len(ranking.label_ids)
        self.val_accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=NOT_COUNTED)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; of several processes the mean is that of the whole batch."""
        loss: Tensor = self.ranking(batch) * share_of(batch)
        self.log("embedding/train_loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Encode every label once for the epoch."""
        self.label_vectors = self.ranking.encode_labels(range(len(self.ranking.label_ids)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Compare each text's nearest label with its own."""
        scores = self.ranking.scores(batch, self.label_vectors)
        self.check_finite(scores, "its cosines")
        self.val_accuracy(scores, labels_to_count(batch))
        self.log("embedding/val_acc", self.val_accuracy, prog_bar=True, batch_size=len(scores))

    @property
    def remedy(self) -> str:
        """What to lower where training diverges."""
        settings = self.settings
        return (
            f"embedding.lr={settings.lr:g}, embedding.scale={settings.scale:g} or "
            f"embedding.gradient_clip={settings.gradient_clip:g}"
        )

    def optimisation(self, steps: int) -> tuple[AdamW, LambdaLR]:
        """Return the recipe's optimiser and schedule."""
        return self.recipe.optimisation(steps)

    def clip(self) -> None:
        """Clip as the recipe does."""
        self.recipe.clip()
