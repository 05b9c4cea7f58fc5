"""The text embedding, what views make of texts with it, and how like each other the labels are."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core, stopping
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import configured_embedding, encode, save_embedding
from lrsl.nn import processes
from lrsl.nn.kept import Kept
from lrsl.nn.pretrained import fingerprint
from lrsl.reranking.rule import scores_of_texts
from lrsl.reranking.view import FittedCandidateView, FittedView, Given
from lrsl.run.rules import ConfiguredView
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.made_of import LIBRARIES_OF_VIEWS, about, conditions, named, source, versions
from lrsl.run.stages.tensor import TENSOR, load, save
from lrsl.run.stages.tokens import StoredTokens
from lrsl.run.stages.unfinished import through, unfinished
from lrsl.run.store import key_of, link
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.resuming import Resuming
from lrsl.training.trainer import best_checkpoint, build_trainer, epoch_of, load_best

EPOCH = "epoch.json"


def finetune_embedding(
    context: RunContext, confused: Tensor | None, epochs: int | None = None, candidates: Tensor | None = None
) -> TextEmbedding:
    """Fine-tune the text embedding and save it as a sentence-transformers folder; off the shelf unless `finetune`.

    Its best epoch is the one in which the nearest label is most often the right one on validation. With a number of
    epochs that is given nothing is validated, and the last of them is kept; the learning rate is planned over
    `embedding.epochs` all the same.

    Args:
        context: the run.
        confused: the labels each training row is confused with, for `negatives=confused`.
        epochs: after how many epochs to stop, where that is known.
        candidates: the labels `(rows, k)` that a classifier which has not seen a training row holds likeliest for it,
            for views that learn from them.
    """
    config, corpus, settings = context.config, context.corpus, context.config.embedding

    def make(folder: Path) -> None:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        with processes.first():
            embedding = configured_embedding(settings)
        trainer = build_trainer(
            config.trainer,
            "embedding",
            folder,
            epochs=settings.epochs,
            monitor="embedding/val_acc" if epochs is None else None,
            patience=settings.patience,
            stop_after=epochs,
            logger=context.logger,
            resuming=resuming,
        )
        ranking = LabelRanking(embedding, corpus.label_texts, settings, confused)
        ranking.tokenize = StoredTokens(context)
        module = EmbeddingTrainer(ranking)
        recipe = module.recipe
        train = recipe.training(corpus.train, config.seed)
        if epochs is None:
            resuming.fit(trainer, module, train, recipe.validation(corpus.val))
            if not processes.leads():
                return
            best = Path(best_checkpoint(trainer))
            load_best(module, best)
            kept = epoch_of(best)
            best.unlink()
        else:
            resuming.fit(trainer, module, train)
            if not processes.leads():
                return
            kept = epochs
        save_embedding(embedding, folder)
        (folder / EPOCH).write_text(json.dumps({"epoch": kept}), encoding="utf-8")

    if not settings.finetune:
        return embedding_off_the_shelf(context, candidates)
    unused = ("name", "pretrained", "finetune", "k")
    made_of = {
        **conditions(context, "embedding"),
        "seed": config.seed,
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {key: value for key, value in asdict(settings).items() if key not in unused},
        "confused": None if confused is None else _digest(confused),
        "data": [corpus.label_texts, corpus.train.fingerprint(), corpus.val.fingerprint()],
    }
    if epochs is not None:
        made_of["stopped after"] = epochs
    kept = unfinished(context, "embedding", made_of)
    resuming = Resuming(kept, epochs or settings.epochs)
    folder = context.store.get("embedding", made_of, make, about=about(context))
    through(context, kept)
    if processes.leads():
        link(folder, context.folder / "embedding")
    return TextEmbedding(context, made_of, str(folder), candidates)


def embedding_off_the_shelf(context: RunContext, candidates: Tensor | None = None) -> TextEmbedding:
    """Return the text embedding as it was pretrained; `candidates` as for `finetune_embedding`."""
    settings = context.config.embedding
    made_of = {
        **conditions(context, "embedding"),
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {"pooling": settings.pooling, "max_length": settings.max_length, "attention": settings.attention},
    }
    return TextEmbedding(context, made_of, settings.pretrained, candidates)


class TextEmbedding:
    """The text embedding of a run, which is loaded only when a text has to be encoded.

    Args:
        context: the run.
        made_of: what the embedding is made of.
        pretrained: the folder fine-tuning has left in the store, or the embedding off the shelf.
        candidates: the out-of-fold candidates `(rows, k)` of the training rows; None where there are none.
    """

    def __init__(
        self, context: RunContext, made_of: Mapping[str, Any], pretrained: str, candidates: Tensor | None = None
    ) -> None:
        self.context = context
        self.made_of = made_of
        self.pretrained = pretrained
        self.candidates = candidates
        self._fitted: dict[str, FittedView | FittedCandidateView] = {}
        self._kept: dict[str, Kept] = {}
        self._fitting = ""

    @functools.cached_property
    def model(self) -> SentenceTransformer:
        """The sentence-transformers model, in evaluation mode on the trainer's device."""
        return self._loaded(self.pretrained)

    def _untuned(self) -> SentenceTransformer:
        return self._loaded(self.context.config.embedding.pretrained)

    def _loaded(self, pretrained: str) -> SentenceTransformer:
        trainer = build_trainer(self.context.config.trainer, "embedding", self.context.folder)
        model = configured_embedding(self.context.config.embedding, pretrained)
        return model.to(trainer.strategy.root_device).eval()

    @functools.cached_property
    def given(self) -> Given:
        """What views learn from."""
        corpus, candidates = self.context.corpus, self.candidates
        return Given(
            corpus.label_texts,
            corpus.train.texts,
            corpus.train.labels,
            load_embedding=lambda: self.model,
            candidates=None if candidates is None else lambda: candidates,
            kept=lambda: self._kept[self._fitting],
            load_untuned=self._untuned if self.context.config.embedding.finetune else None,
        )

    @property
    def epoch(self) -> int | None:
        """Which epoch of fine-tuning was kept, 1 for the first; None off the shelf."""
        noted = Path(self.pretrained) / EPOCH
        if not self.context.config.embedding.finetune:
            return None
        return int(json.loads(noted.read_text(encoding="utf-8"))["epoch"])

    def let_go(self) -> None:
        """Hold no weights any more, nor views that have learnt; they come again if they are asked for."""
        self._fitted.clear()
        for kept in self._kept.values():
            through(self.context, kept)
        self._kept.clear()
        for name in ("model", "given"):
            self.__dict__.pop(name, None)

    def fitted(self, configured: ConfiguredView) -> FittedView | FittedCandidateView:
        """Return a view that has learnt from the training rows."""
        key = key_of(configured.settings)
        if key not in self._fitted:
            self._fitting = key
            with stopping.training(lambda: self._kept[key].reached):
                self._fitted[key] = configured.view.fit(self.given)
        return self._fitted[key]

    def scores(self, configured: ConfiguredView, split: str, logits: Tensor) -> Tensor:
        """Return what a view makes of each text of a split, `(n, classes)`, NaN for labels that it does not score.

        Args:
            configured: the view.
            split: the name of the split.
            logits: the classifier's of the split, by which a view that scores candidates is told which.
        """
        samples = self.context.split(split)
        view, k = configured.view, self.context.config.reranker.k

        def make(folder: Path) -> None:
            scores = scores_of_texts(view, self.fitted(configured), samples.texts, k)
            save(scores(torch.arange(len(samples)), logits), folder)

        learns_from = self._learns_from(configured)
        key = self._keep(configured, learns_from)  # one training for all splits
        made_of = {**learns_from, "of": samples.fingerprint()}
        if view.scores_candidates:
            candidates = logits.topk(k, dim=-1).indices
            made_of["candidates"] = _digest(candidates)
        folder = self.context.store.get("similarity", made_of, make, about=f"{about(self.context)}, {split}")
        if split == self.context.predicted[-1]:
            through(self.context, self._kept.pop(key))
        return load(folder)

    def learnt(self, configured: ConfiguredView) -> Mapping[str, Tensor]:
        """Return what a view has learnt, by names, for its `restore`."""

        def make(folder: Path) -> None:
            found = self.fitted(configured).learnt()  # of which views may share some, which safetensors does not write
            tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}
            save_file(tensors, folder / f"{TENSOR}.safetensors")

        learns_from = self._learns_from(configured)
        key = self._keep(configured, learns_from)
        folder = self.context.store.get("views", learns_from, make, about=about(self.context))
        through(self.context, self._kept.pop(key))
        learnt: Mapping[str, Tensor] = load_file(folder / f"{TENSOR}.safetensors")
        return learnt

    def _learns_from(self, configured: ConfiguredView) -> dict[str, Any]:
        """Return what a view that has learnt is made of, as plain data."""
        corpus = self.context.corpus
        learns_from = {
            "embedding": key_of(self.made_of),
            "view": [dict(configured.settings), source(configured.view)],
            "named": named(configured.settings),
            "libraries": versions(LIBRARIES_OF_VIEWS),
            "data": [corpus.label_texts, corpus.train.fingerprint()],
        }
        if self.candidates is not None:
            learns_from["candidates of training"] = _digest(self.candidates)
        return learns_from

    def _keep(self, configured: ConfiguredView, learns_from: Mapping[str, Any]) -> str:
        """Have a place for what a training of a view reaches, and return the key under which it is known."""
        key = key_of(configured.settings)
        if key not in self._kept:
            self._kept[key] = unfinished(self.context, "similarity", learns_from, configured.name)
        return key

    def label_similarity(self) -> Tensor:
        """Return the cosine similarities of all labels with each other, `(classes, classes)`."""
        texts = self.context.corpus.label_texts

        def make(folder: Path) -> None:
            vectors = encode(self.model, texts)
            save(core.label_similarity(vectors, vectors), folder)

        made_of = {"embedding": key_of(self.made_of), "labels": texts}
        return load(self.context.store.get("labels", made_of, make, about=about(self.context)))


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()
