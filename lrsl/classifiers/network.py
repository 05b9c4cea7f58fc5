"""What every classifier network has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from lrsl.data.corpus import Split
from lrsl.nn.batches import Batch, Samples, Tokenize, tokenize


class Network(nn.Module, ABC):
    """Turns the samples of a split into batches, and batches into logits.

    Attributes:
        head: the layers that make logits; they are trained with a learning rate of their own.
        tokenize: how texts become token ids; whoever has a store may put it in between.
    """

    head: nn.Module
    tokenize: Tokenize = staticmethod(tokenize)

    @abstractmethod
    def samples(self, split: Split) -> Samples:
        """Return a split in the form in which `forward` takes it, batch by batch."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(n, classes)`, float32."""

    def loss(self, batch: Batch) -> Tensor:
        """Return what training minimises, the cross-entropy unless a network says otherwise."""
        return F.cross_entropy(self(batch), batch["label"])

    def export(self, folder: Path) -> None:
        """Write into a folder what can be loaded without the checkpoint, if the network has anything to write."""
