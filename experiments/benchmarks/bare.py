"""Our trainings with nothing around them: the least they can cost with the same networks, batches and optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from experiments.benchmarks.plan import SEED
from experiments.benchmarks.workload import Workload
from lrsl.classifiers.build import build_network
from lrsl.config.schema import EmbeddingConfig, ModelConfig
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import load_embedding
from lrsl.nn.batches import Batch, loader
from lrsl.nn.pretrained import adjust
from lrsl.training.classifier import Classifier
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.trainer import precision

PHASES = ("forward", "backward", "clipping", "optimiser")


@dataclass
class Bare:
    """A network, its loss, its batches and its optimiser, under the precision of a run.

    Attributes:
        network: what is trained, in place.
        loss: returns the loss of a batch.
        loader: the batches of an epoch.
        optimizer: updates the network.
        schedule: moves the learning rates once per step.
        gradient_clip: largest norm of the gradient.
        mixed: whether autocast computes in bfloat16.
    """

    network: nn.Module
    loss: Callable[[Batch], Tensor]
    loader: DataLoader[Batch]
    optimizer: Optimizer
    schedule: LRScheduler
    gradient_clip: float
    mixed: bool

    def phases(self, batch: Batch) -> Iterator[None]:
        """Take one step; pause after each of its `PHASES`."""
        with torch.autocast(batch["label"].device.type, torch.bfloat16, enabled=self.mixed):
            loss = self.loss(batch)
        yield
        loss.backward()
        yield
        clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        yield
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        yield

    def step(self, batch: Batch) -> None:
        """Take one step."""
        for _ in self.phases(batch):
            pass

    def epoch(self) -> None:
        """Take a step on each batch."""
        for batch in self.loader:
            self.step(batch)


def classifier_module(workload: Workload) -> Classifier:
    """Return an untrained classifier as a run builds it."""
    config, corpus = workload.config, workload.corpus
    pl.seed_everything(SEED, workers=True, verbose=False)
    return Classifier(build_network(config.model, corpus), config.model, len(corpus.labels))


def embedding_module(workload: Workload, confused: Tensor | None = None) -> EmbeddingTrainer:
    """Return an embedding with its loss as a run builds them."""
    settings = workload.config.embedding
    pl.seed_everything(SEED, workers=True, verbose=False)
    embedding = load_embedding(settings.pretrained, pooling=settings.pooling, max_length=settings.max_length)
    if embedding.transformers_model is not None:
        adjust(embedding.transformers_model, settings.encoder_dropout, settings.attention, "embedding")
    return EmbeddingTrainer(LabelRanking(embedding, workload.corpus.label_texts, settings, confused))


def batches(module: Classifier | EmbeddingTrainer, workload: Workload) -> DataLoader[Batch]:
    """Return the training batches of a module, the same ones whenever asked."""
    network = module.network if isinstance(module, Classifier) else module.ranking
    return loader(network.samples(workload.corpus.train), module.settings.batch_size, seed=SEED)


def bare(module: Classifier | EmbeddingTrainer, workload: Workload) -> Bare:
    """Return the training of a module without a trainer."""
    settings: ModelConfig | EmbeddingConfig = module.settings
    train = batches(module, workload)
    optimizer, schedule = module.optimisation(settings.epochs * len(train))
    return Bare(
        network=module.train(),
        loss=module.network.loss if isinstance(module, Classifier) else module.ranking,
        loader=train,
        optimizer=optimizer,
        schedule=schedule,
        gradient_clip=settings.gradient_clip,
        mixed=precision(workload.config.trainer) == "bf16-mixed",
    )
