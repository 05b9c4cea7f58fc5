"""Scores of views that a run has not asked: fitted on its training texts now, where no network of the run is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrsl.data.corpus import Corpus, Split
from lrsl.data.load import load_corpus
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
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._known: dict[tuple[str, ...], dict[str, Tensor]] = {}

    def __call__(self, folder: Path, configured: ConfiguredView) -> dict[str, Tensor]:
        """Return what a view makes of each text of validation and test, `(n, classes)`, as it would have in the run.

        Where rules were fitted out of fold it is fitted on the run's folds for validation, and on all rows for test.

        Args:
            folder: of a finished run.
            configured: the view.

        Raises:
            InputError: the view needs an embedding, candidates or another classifier, the data are not those of the
                run, or they cannot be read.
        """
        config = configuration_of(folder)
        corpus = load_corpus(config.dataset, str(self.data_dir))
        if corpus.fingerprint() != (read(folder) or {}).get("data"):
            raise InputError(f"the data in {self.data_dir} are not those of {folder}; name a folder that has these")
        folds = Folds(corpus, config.reranker.folds, config.dataset.drawn_by) if config.reranker.folds else None
        dealt = "" if folds is None else str([rows.tolist() for rows in folds.rows])
        key = (key_of(configured.settings), corpus.fingerprint(), dealt)
        if key not in self._known:
            try:
                self._known[key] = _scores(configured, corpus, folds)
            except (RuntimeError, ValueError) as error:
                raise InputError(f"{folder} has no scores of the view {configured.name}: {error}") from None
        return {split: self._known[key][split] for split in SPLITS}


def _scores(configured: ConfiguredView, corpus: Corpus, folds: Folds | None) -> dict[str, Tensor]:
    """Return the scores of validation and test."""
    if folds is None:
        val, test = _of(configured, corpus, corpus.train, [corpus.val.texts, corpus.test.texts])
        return {"val": val, "test": test}
    pool = folds.corpus.train
    (test,) = _of(configured, corpus, pool, [corpus.test.texts])
    parts: list[Tensor] = []
    for rows in folds.rows:
        left = torch.ones(len(pool), dtype=torch.bool)
        left[rows] = False
        others = pool.take(left.nonzero().flatten().tolist())
        parts += _of(configured, corpus, others, [pool.take(rows.tolist()).texts])
    return {"val": torch.cat(parts)[torch.cat(folds.rows).argsort()], "test": test}


def _of(configured: ConfiguredView, corpus: Corpus, train: Split, asked: Sequence[list[str]]) -> list[Tensor]:
    """Return the scores of texts by a view that has learnt from training rows, in the precision that runs keep."""
    if configured.view.scores_candidates:
        raise ValueError("it scores the labels that the run's classifier holds likeliest")
    fitted: Any = configured.view.fit(Given(corpus.label_texts, train.texts, train.labels))
    return [fitted(texts).cpu().half().float() for texts in asked]
