"""The classifier, its logits, and the labels it confuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lrsl.classifiers.build import build_network
from lrsl.embedding.finetuning import confused_labels
from lrsl.embedding.text_embedding import configured_embedding
from lrsl.nn import processes
from lrsl.nn.batches import loader
from lrsl.nn.pretrained import fingerprint
from lrsl.reranking.rule import Rule
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.made_of import LIBRARIES_OF_LLMS, about, conditions, versions
from lrsl.run.stages.tensor import load, save
from lrsl.run.stages.tokens import StoredTokens
from lrsl.run.stages.unfinished import through, unfinished
from lrsl.run.store import key_of, link
from lrsl.training.callback import RerankingCallback
from lrsl.training.classifier import Classifier
from lrsl.training.resuming import Resuming
from lrsl.training.trainer import best_checkpoint, build_trainer, device, epoch_of, load_best

CHECKPOINT = "best.ckpt"


def train_classifier(context: RunContext, rule: Rule, epochs: int | None = None) -> TrainedClassifier:
    """Train the classifier; its best epoch is the one with the highest validation accuracy.

    With a number of epochs that is given nothing is validated, and the last of them is kept. The learning rate is then
    planned over `model.epochs` all the same: the best epoch of a schedule is found again on the same schedule only.

    Args:
        context: the run.
        rule: its threshold is learnt on each validation epoch, for the log and the checkpoint.
        epochs: after how many epochs to stop, where that is known.
    """
    config, corpus, model = context.config, context.corpus, context.config.model
    trained: list[Classifier] = []

    def make(folder: Path) -> None:
        # loaded before the classifier is trained: if it cannot be had, nothing is lost
        with processes.first():
            configured_embedding(config.embedding)
        module = build_classifier(context)
        network = module.network
        trainer = build_trainer(
            config.trainer,
            "classifier",
            folder,
            epochs=model.epochs,
            monitor="val/acc" if epochs is None else None,
            patience=model.patience,
            stop_after=epochs,
            logger=context.logger,
            callbacks=[RerankingCallback(rule)] if epochs is None else [],
            resuming=resuming,
            shards=True,
        )
        train = loader(network.samples(corpus.train), model.batch_size, seed=config.seed)
        if epochs is None:
            resuming.fit(trainer, module, train, loader(network.samples(corpus.val)))
            load_best(module, Path(best_checkpoint(trainer)))
        else:
            resuming.fit(trainer, module, train)
            trainer.save_checkpoint(folder / CHECKPOINT)
        network.export(folder)
        trained.append(module)

    settings = {key: value for key, value in asdict(model).items() if key not in ("name", "pretrained")}
    made_of = {
        **conditions(context, "classifiers"),
        "seed": config.seed,
        "settings": settings,
        "weights": fingerprint(model.pretrained, "model.pretrained"),
        "data": [corpus.labels, corpus.train.fingerprint(), corpus.val.fingerprint()],
    }
    if epochs is not None:
        made_of["stopped after"] = epochs
    if model.architecture == "llm":
        made_of["libraries"] |= versions(LIBRARIES_OF_LLMS)
    if model.architecture == "hldic":  # the one network that looks at them
        made_of["label tree"] = [corpus.label_texts, corpus.groups]
    kept = unfinished(context, "classifier", made_of)
    resuming = Resuming(kept, epochs or model.epochs)
    folder = context.store.get("classifier", made_of, make, about=about(context))
    through(context, kept)
    if processes.leads():
        link(folder, context.folder / "classifier")
    return TrainedClassifier(context, made_of, folder, *trained)


class TrainedClassifier:
    """A classifier at its best epoch, which is loaded only when it is asked for logits that the store does not have.

    Args:
        context: the run.
        made_of: what the classifier is made of.
        folder: what training has left in the store.
        module: the classifier, where this process has trained it.
    """

    def __init__(
        self, context: RunContext, made_of: Mapping[str, Any], folder: Path, module: Classifier | None = None
    ) -> None:
        self.context = context
        self.made_of = made_of
        self.folder = folder
        self._module = module

    @property
    def module(self) -> Classifier:
        """The LightningModule with the weights of the best epoch."""
        if self._module is None:
            self._module = build_classifier(self.context)
            load_best(self._module, self.folder / CHECKPOINT)
        return self._module

    @property
    def epoch(self) -> int:
        """Which epoch was kept, 1 for the first."""
        return epoch_of(self.folder / CHECKPOINT)

    def let_go(self) -> None:
        """Hold no weights any more; they are loaded again if they are asked for."""
        self._module = None

    def logits(self, split: str) -> Tensor:
        """Return the logits `(n, classes)` of a split, in its order."""
        samples = self.context.split(split)

        def make(folder: Path) -> None:
            trainer = build_trainer(self.context.config.trainer, f"logits of {split}", folder, shards=True)
            batches: Any = trainer.predict(self.module, loader(self.module.network.samples(samples)))
            index, logits = (
                processes.gathered(torch.cat([batch[key] for batch in batches])) for key in ("index", "logits")
            )
            rows = torch.empty(len(samples), dtype=torch.int64)
            rows[index] = torch.arange(len(index))  # a row may come from two processes, and is the same in both
            if processes.leads():
                save(logits[rows], folder)

        made_of = {"classifier": key_of(self.made_of), "of": samples.fingerprint()}
        return load(self.context.store.get("logits", made_of, make, about=f"{about(self.context)}, {split}"))


def build_classifier(context: RunContext) -> Classifier:
    """Return an untrained classifier, its head drawn by the run's seed."""
    pl.seed_everything(context.config.seed, workers=True, verbose=False)
    trainer = context.config.trainer
    with processes.first():
        network = build_network(
            context.config.model, context.corpus, device(trainer), shards=trainer.strategy == "fsdp"
        )
    network.tokenize = StoredTokens(context)
    return Classifier(network, context.config.model, len(context.corpus.labels))


def mine_confused_labels(context: RunContext, classifier: TrainedClassifier) -> Tensor | None:
    """Return the labels the classifier confuses each training sample with, when the embedding learns from them."""
    config, corpus = context.config, context.corpus
    if not config.embedding.finetune or config.embedding.negatives != "confused":
        return None
    return confused_labels(classifier.logits("train"), torch.tensor(corpus.train.labels), config.embedding)
