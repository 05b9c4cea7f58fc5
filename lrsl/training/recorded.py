"""A classifier's answers, given once and looked at as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lrsl.nn.batches import Batch

ROWS = 4096  # per batch: there is nothing to compute


class RecordedLogits(pl.LightningModule):
    """Validates and tests from recorded logits, so that callbacks see what they saw when the classifier answered."""

    def loader(self, logits: Tensor, labels: Sequence[int]) -> DataLoader[tuple[Tensor, ...]]:
        """Return batches of recorded logits `(n, classes)` and their labels."""
        rows = TensorDataset(logits, torch.tensor(labels), torch.arange(len(labels)))
        return DataLoader(rows, batch_size=ROWS)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> Batch:
        """Return logits, labels and row numbers."""
        return dict(zip(("logits", "label", "index"), batch, strict=True))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> Batch:
        """Return logits, labels and row numbers."""
        return self.validation_step(batch, batch_idx)
