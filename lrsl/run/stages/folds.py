"""Training and validation rows in turns: each predicted by what has not seen it, and at the end all learnt from.

A fold's stages are those of any run, with the other folds as train and the fold as validation. So they are kept in the
store one by one, and a run that was interrupted goes on at the fold it was at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median_high
from typing import Any

import torch
from torch import Tensor

from lrsl.data.corpus import Corpus
from lrsl.data.deal import deal
from lrsl.nn import processes
from lrsl.nn.memory import release
from lrsl.reranking.rule import Rule
from lrsl.run.rules import ConfiguredView
from lrsl.run.stages.classifier import TrainedClassifier, train_classifier
from lrsl.run.stages.context import RunContext
from lrsl.run.stages.embedding import TextEmbedding, finetune_embedding
from lrsl.run.store import key_of


@dataclass(frozen=True)
class Turn:
    """One fold's turn.

    Attributes:
        context: the run with the other folds as train and this fold as validation.
        others: the rows of the other folds in ascending order.
        rows: the rows of the fold, likewise.
    """

    context: RunContext
    others: Tensor
    rows: Tensor


class Folds:
    """The training and validation rows of a corpus, dealt into folds.

    They are dealt by the seed of the validation split, so that every seed of a sweep has the same folds.

    Args:
        corpus: the data.
        number: number of folds, at least 2.
        seed: deals the rows.

    Attributes:
        corpus: the data with all of these rows, training rows first, both as train and as validation.
        rows: the rows of each fold in ascending order.

    Raises:
        InputError: there are fewer different texts than folds.
    """

    def __init__(self, corpus: Corpus, number: int, seed: int) -> None:
        pool = corpus.train.joined(corpus.val)
        self.corpus = replace(corpus, train=pool, val=pool)
        self.rows = [torch.tensor(rows) for rows in deal(pool.texts, pool.labels, number, seed)]

    def classifier(self, context: RunContext, rule: Rule) -> RefittedClassifier:
        """Train the classifier on all folds but one, each in turn, and then on all rows.

        The latter takes the median of the best epochs, the larger of the middle two; no row is left to choose one by.

        Args:
            context: the run, with all rows.
            rule: as for `train_classifier`.
        """
        logits: list[Tensor] = []
        best: list[int] = []
        for turn in self._turns(context, "classifier"):
            classifier = train_classifier(turn.context, rule)
            logits.append(classifier.logits("val"))
            best.append(classifier.epoch)
            classifier.let_go()
        return RefittedClassifier(
            train_classifier(context, rule, self._epochs("classifier", best)), self._together(logits), best
        )

    def embedding(
        self, context: RunContext, logits: Tensor, confused: Tensor | None, views: Sequence[ConfiguredView]
    ) -> RefittedEmbedding:
        """Fine-tune the embedding and fit the views on all folds but one, each in turn, and then on all rows.

        Args:
            context: the run, with all rows.
            logits: the out-of-fold logits, `(rows, classes)`.
            confused: the labels each row is confused with, for `negatives=confused`.
            views: what scores the rows.
        """
        candidates = logits.topk(context.config.reranker.k, dim=-1).indices
        by_key = {key_of(view.settings): view for view in views}
        scores: dict[str, list[Tensor]] = {key: [] for key in by_key}
        best: list[int] = []
        for turn in self._turns(context, "embedding and views"):
            confused_of_others = None if confused is None else confused[turn.others]
            embedding = finetune_embedding(turn.context, confused_of_others, candidates=candidates[turn.others])
            for key, view in by_key.items():
                scores[key].append(embedding.scores(view, "val", logits[turn.rows]))
            best += [] if embedding.epoch is None else [embedding.epoch]
            embedding.let_go()
        epochs = self._epochs("embedding", best) if best else None
        together = {key: self._together(parts) for key, parts in scores.items()}
        return RefittedEmbedding(finetune_embedding(context, confused, epochs, candidates), together, best)

    def _turns(self, context: RunContext, what: str) -> Iterator[Turn]:
        pool, folder = self.corpus.train, context.folder / "folds"
        for number, rows in enumerate(self.rows, 1):
            print(f"fold {number} of {len(self.rows)}: {what} …", flush=True)
            left = torch.ones(len(pool), dtype=torch.bool)
            left[rows] = False
            others = left.nonzero().flatten()
            corpus = replace(self.corpus, train=pool.take(others.tolist()), val=pool.take(rows.tolist()))
            try:
                yield Turn(replace(context, corpus=corpus, folder=folder, logged=False), others, rows)
            finally:
                if processes.leads():
                    shutil.rmtree(folder, ignore_errors=True)  # the store has it
            release()

    def _epochs(self, what: str, best: Sequence[int]) -> int:
        epochs = median_high(best)
        told = ", ".join(map(str, best))
        print(f"all {len(self.corpus.train):,} rows: {what}, {epochs} epochs (best of the folds: {told}) …", flush=True)
        return epochs

    def _together(self, parts: Sequence[Tensor]) -> Tensor:
        """Return what there is of each fold's rows, `(rows of the fold, classes)`, in the order of all rows."""
        return torch.cat(list(parts))[torch.cat(self.rows).argsort()]


class RefittedClassifier(TrainedClassifier):
    """A classifier trained on all rows, which tells for these rows what classifiers say that have not seen them.

    Args:
        trained: the classifier.
        out_of_fold: the logits of all rows, `(rows, classes)`.
        best: the best epoch of each fold.
    """

    def __init__(self, trained: TrainedClassifier, out_of_fold: Tensor, best: Sequence[int]) -> None:
        super().__init__(trained.context, trained.made_of, trained.folder, trained._module)
        self.out_of_fold = out_of_fold
        self.best = list(best)

    def epochs(self) -> dict[str, Any]:
        """Return what results say of the number of epochs."""
        return {"of_folds": self.best, "on_all": median_high(self.best)}

    def logits(self, split: str) -> Tensor:
        """Return the logits `(n, classes)` of a split, out of fold for train and val."""
        return self.out_of_fold if split in ("train", "val") else super().logits(split)


class RefittedEmbedding(TextEmbedding):
    """An embedding fine-tuned on all rows, with the scores that views gave these rows without having seen them.

    Args:
        tuned: the embedding.
        out_of_fold: the scores of all rows, `(rows, classes)`, by the key of the view's settings.
        best: the best epoch of each fold; none off the shelf.
    """

    def __init__(self, tuned: TextEmbedding, out_of_fold: dict[str, Tensor], best: Sequence[int]) -> None:
        super().__init__(tuned.context, tuned.made_of, tuned.pretrained, tuned.candidates)
        self.out_of_fold = out_of_fold
        self.best = list(best)

    def epochs(self) -> dict[str, Any]:
        """Return what results say of the number of epochs; nothing off the shelf."""
        return {"of_folds": self.best, "on_all": median_high(self.best)} if self.best else {}

    def scores(self, configured: ConfiguredView, split: str, logits: Tensor) -> Tensor:
        """Return what a view makes of each text of a split, `(n, classes)`, out of fold for val."""
        if split == "val":
            return self.out_of_fold[key_of(configured.settings)]
        return super().scores(configured, split, logits)
