"""Scores of views that a run has not asked, fitted on its training texts now: of such as need nothing it trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.config.schema import Config, EmbeddingConfig
from lrsl.data.corpus import Corpus, Split
from lrsl.data.load import load_corpus
from lrsl.embedding.text_embedding import configured_embedding
from lrsl.errors import InputError
from lrsl.reranking.view import Given
from lrsl.run.reopened import configuration_of
from lrsl.run.results import read
from lrsl.run.rules import ConfiguredView
from lrsl.run.scored import SPLITS
from lrsl.run.stages.folds import Folds
from lrsl.run.store import key_of


class Rescored:
    """Fits views on the data of runs; what runs of the same data have in common is fitted once.

    Args:
        data_dir: folder of local copies of the data.
        pretrained: where the runs' text embedding lies as it was pretrained, if no longer where their configuration
            says; of all of them, which must be of one embedding.
    """

    def __init__(self, data_dir: Path, pretrained: str | None = None) -> None:
        self.data_dir = data_dir
        self.pretrained = pretrained
        self._stands_for: str | None = None
        self._known: dict[tuple[str, ...], dict[str, Tensor]] = {}
        self._encoders: dict[str, SentenceTransformer] = {}

    def __call__(self, folder: Path, configured: ConfiguredView) -> dict[str, Tensor]:
        """Return what a view makes of each text of validation and test, `(n, classes)`, as it would have in the run.

        Where rules were fitted out of fold it is fitted on the run's folds for validation, and on all rows for test.

        Args:
            folder: of a finished run.
            configured: the view.

        Raises:
            InputError: the view needs what the run has trained, or candidates; the data are not those of the run, or
                cannot be read; or its text embedding is not where it was.
        """
        config = configuration_of(folder)
        corpus, folds = self.data_of(folder, config)
        dealt = "" if folds is None else str([rows.tolist() for rows in folds.rows])
        settings = self._settings(config.embedding)
        key = (key_of(configured.settings), _key(settings), corpus.fingerprint(), dealt)
        if key not in self._known:
            scored = partial(_of, configured, corpus, lambda: self._encoder(settings))
            try:
                self._known[key] = _scores(scored, corpus, folds)
            except (RuntimeError, ValueError) as error:
                raise InputError(f"{folder} has no scores of the view {configured.name}: {error}") from None
        return {split: self._known[key][split] for split in SPLITS}

    def data_of(self, folder: Path, config: Config) -> tuple[Corpus, Folds | None]:
        """Return the data of a run, and its folds if it has some.

        Raises:
            InputError: they are not those of the run, or cannot be read.
        """
        corpus = load_corpus(config.dataset, str(self.data_dir))
        if corpus.fingerprint() != (read(folder) or {}).get("data"):
            raise InputError(f"the data in {self.data_dir} are not those of {folder}; name a folder that has these")
        return corpus, Folds(corpus, config.reranker.folds, config.dataset.drawn_by) if config.reranker.folds else None

    def _settings(self, embedding: EmbeddingConfig) -> EmbeddingConfig:
        """Return the embedding of a run, from where it lies now.

        Raises:
            InputError: `pretrained` would stand for two.
        """
        if self.pretrained is None:
            return embedding
        self._stands_for = self._stands_for or embedding.pretrained
        if self._stands_for != embedding.pretrained:
            raise InputError(
                f"--pretrained {self.pretrained} would stand for two, since the runs are of "
                f"{self._stands_for} and of {embedding.pretrained}; name those of one at a time"
            )
        return replace(embedding, pretrained=self.pretrained)

    def _encoder(self, settings: EmbeddingConfig) -> SentenceTransformer:
        """Return the text embedding as it was pretrained; the last is held."""
        key = _key(settings)
        if key not in self._encoders:
            try:
                encoder = configured_embedding(settings)
            except InputError as error:
                raise InputError(f"{error}; or name its folder by --pretrained") from None
            self._encoders = {key: encoder.to("cuda" if torch.cuda.is_available() else "cpu").eval()}
        return self._encoders[key]


def _key(settings: EmbeddingConfig) -> str:
    """Return what an embedding that is not fine-tuned depends on."""
    return key_of({name: getattr(settings, name) for name in ("pretrained", "pooling", "max_length", "attention")})


Scored = Callable[[Split, Sequence[list[str]]], list[Tensor]]
"""Gives the scores of lists of texts by a view that has learnt from training rows."""


def _scores(scored: Scored, corpus: Corpus, folds: Folds | None) -> dict[str, Tensor]:
    """Return the scores of validation and test."""
    if folds is None:
        val, test = scored(corpus.train, [corpus.val.texts, corpus.test.texts])
        return {"val": val, "test": test}
    pool = folds.corpus.train
    (test,) = scored(pool, [corpus.test.texts])
    parts: list[Tensor] = []
    for rows in folds.rows:
        left = torch.ones(len(pool), dtype=torch.bool)
        left[rows] = False
        others = pool.take(left.nonzero().flatten().tolist())
        parts += scored(others, [pool.take(rows.tolist()).texts])
    return {"val": torch.cat(parts)[torch.cat(folds.rows).argsort()], "test": test}


def _of(
    configured: ConfiguredView,
    corpus: Corpus,
    load: Callable[[], SentenceTransformer],
    train: Split,
    asked: Sequence[list[str]],
) -> list[Tensor]:
    """Return the scores of texts by a view that has learnt from training rows, in the precision that runs keep."""
    if configured.view.scores_candidates:
        raise ValueError("it scores the labels that the run's classifier holds likeliest")
    fitted: Any = configured.view.fit(Given(corpus.label_texts, train.texts, train.labels, load_untuned=load))
    return [fitted(texts).cpu().half().float() for texts in asked]
