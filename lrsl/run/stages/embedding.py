"""The text embedding, what views make of texts with it, and how like each other the labels are."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl import core
from lrsl.embedding.label_ranking import LabelRanking
from lrsl.embedding.text_embedding import configured_embedding, encode, save_embedding
from lrsl.nn.pretrained import fingerprint
from lrsl.reranking.rule import scores_of_texts
from lrsl.reranking.view import FittedCandidateView, FittedView, Given
from lrsl.run.rules import ConfiguredView
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.made_of import about, conditions, source
from lrsl.run.stages.tensor import load, save
from lrsl.run.stages.tokens import StoredTokens
from lrsl.run.store import key_of, link
from lrsl.training.embedding import EmbeddingTrainer
from lrsl.training.trainer import best_checkpoint, build_trainer, load_best


def finetune_embedding(context: RunContext, confused: Tensor | None) -> TextEmbedding:
    """Fine-tune the text embedding and save it as a sentence-transformers folder; off the shelf unless `finetune`.

    Its best epoch is the one in which the nearest label is most often the right one on validation.
    """
    config, corpus, settings = context.config, context.corpus, context.config.embedding

    def make(folder: Path) -> None:
        pl.seed_everything(config.seed, workers=True, verbose=False)
        embedding = configured_embedding(settings)
        trainer = build_trainer(
            config.trainer,
            "embedding",
            folder,
            epochs=settings.epochs,
            monitor="embedding/val_acc",
            patience=settings.patience,
            logger=context.tracker.logger,
        )
        ranking = LabelRanking(embedding, corpus.label_texts, settings, confused)
        ranking.tokenize = StoredTokens(context)
        module = EmbeddingTrainer(ranking)
        recipe = module.recipe
        trainer.fit(module, recipe.training(corpus.train, config.seed), recipe.validation(corpus.val))
        best = Path(best_checkpoint(trainer))
        load_best(module, best)
        best.unlink()
        save_embedding(embedding, folder)

    if not settings.finetune:
        return embedding_off_the_shelf(context)
    unused = ("name", "pretrained", "finetune", "k")
    made_of = {
        **conditions(context, "embedding"),
        "seed": config.seed,
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {key: value for key, value in asdict(settings).items() if key not in unused},
        "confused": None if confused is None else hashlib.sha256(confused.numpy().tobytes()).hexdigest(),
        "data": [corpus.label_texts, corpus.train.fingerprint(), corpus.val.fingerprint()],
    }
    folder = context.store.get("embedding", made_of, make, about=about(context))
    link(folder, context.folder / "embedding")
    return TextEmbedding(context, made_of, str(folder))


def embedding_off_the_shelf(context: RunContext) -> TextEmbedding:
    """Return the text embedding as it was pretrained."""
    settings = context.config.embedding
    made_of = {
        **conditions(context, "embedding"),
        "weights": fingerprint(settings.pretrained, "embedding.pretrained"),
        "settings": {"pooling": settings.pooling, "max_length": settings.max_length, "attention": settings.attention},
    }
    return TextEmbedding(context, made_of, settings.pretrained)


class TextEmbedding:
    """The text embedding of a run, which is loaded only when a text has to be encoded.

    Args:
        context: the run.
        made_of: what the embedding is made of.
        pretrained: the folder fine-tuning has left in the store, or the embedding off the shelf.
    """

    def __init__(self, context: RunContext, made_of: Mapping[str, Any], pretrained: str) -> None:
        self.context = context
        self.made_of = made_of
        self.pretrained = pretrained
        self._fitted: dict[str, FittedView | FittedCandidateView] = {}

    @functools.cached_property
    def model(self) -> SentenceTransformer:
        """The sentence-transformers model, in evaluation mode on the trainer's device."""
        trainer = build_trainer(self.context.config.trainer, "embedding", self.context.folder)
        model = configured_embedding(self.context.config.embedding, self.pretrained)
        return model.to(trainer.strategy.root_device).eval()

    @functools.cached_property
    def given(self) -> Given:
        """What views learn from."""
        corpus = self.context.corpus
        return Given(corpus.label_texts, corpus.train.texts, corpus.train.labels, load_embedding=lambda: self.model)

    def fitted(self, configured: ConfiguredView) -> FittedView | FittedCandidateView:
        """Return a view that has learnt from the training rows."""
        key = key_of(configured.settings)
        if key not in self._fitted:
            self._fitted[key] = configured.view.fit(self.given)
        return self._fitted[key]

    def scores(self, configured: ConfiguredView, split: str, logits: Tensor) -> Tensor:
        """Return what a view makes of each text of a split, `(n, classes)`, NaN for labels that it does not score.

        Args:
            configured: the view.
            split: the name of the split.
            logits: the classifier's of the split, by which a view that scores candidates is told which.
        """
        corpus, samples = self.context.corpus, self.context.split(split)
        view, k = configured.view, self.context.config.reranker.k

        def make(folder: Path) -> None:
            scores = scores_of_texts(view, self.fitted(configured), samples.texts, k)
            save(scores(torch.arange(len(samples)), logits), folder)

        made_of = {
            "embedding": key_of(self.made_of),
            "view": [dict(configured.settings), source(view)],
            "data": [corpus.label_texts, corpus.train.fingerprint()],
            "of": samples.fingerprint(),
        }
        if view.scores_candidates:
            candidates = logits.topk(k, dim=-1).indices
            made_of["candidates"] = hashlib.sha256(candidates.numpy().tobytes()).hexdigest()
        return load(self.context.store.get("similarity", made_of, make, about=f"{about(self.context)}, {split}"))

    def label_similarity(self) -> Tensor:
        """Return the cosine similarities of all labels with each other, `(classes, classes)`."""
        texts = self.context.corpus.label_texts

        def make(folder: Path) -> None:
            vectors = encode(self.model, texts)
            save(core.label_similarity(vectors, vectors), folder)

        made_of = {"embedding": key_of(self.made_of), "labels": texts}
        return load(self.context.store.get("labels", made_of, make, about=about(self.context)))
