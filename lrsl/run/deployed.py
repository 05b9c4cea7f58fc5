"""The reranker that a run deploys, kept in its folder, from where new texts are answered as the test was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lrsl import files
from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.plugin import report, saving
from lrsl.plugin.calibration import Calibration, cross_fitted
from lrsl.reranking.folds import first_alike
from lrsl.reranking.on_hard.conformal import calibrated
from lrsl.reranking.view.second_classifier import SecondClassifier
from lrsl.run.finished import RERANKER
from lrsl.run.outcome import verdict
from lrsl.run.stages.embedding import TextEmbedding
from lrsl.run.stages.test import Scores, Tested


def keep(
    config: Config,
    corpus: Corpus,
    tested: Tested,
    scores: Mapping[str, Scores],
    embedding: TextEmbedding,
    *,
    folder: Path,
) -> None:
    """Write the reranker that is deployed into a run's folder, or say in a line why it cannot be kept.

    The embedding is not written with it, for the run has that beside it or off the shelf; what it was fine-tuned from
    is, with the view that asks it. Where the classifier alone is deployed, it is the rule that tells what is hard,
    switched off.

    Args:
        config: the run.
        corpus: its data.
        tested: what the rules make of them.
        scores: each rule's views' on val.
        embedding: the run's text embedding, with which its views have learnt.
        folder: the run's.
    """
    files.remove(folder / RERANKER)
    settings, logits, labels = config.reranker, tested.logits["val"], torch.tensor(corpus.val.labels)
    judged, reranks = tested.telling(settings.deploy), tested.deployed(settings.deploy) is not None
    rule, of_views = judged.named.rule, scores[judged.named.name]["val"]
    alike = first_alike(corpus.val.texts)
    found = cross_fitted(rule, logits, labels, of_views, alike=alike)
    try:
        _check(judged.named.views, corpus)
        about, learnt = saving.saved_rule(
            rule,
            judged.fitted,
            [configured.view for configured in judged.named.views],
            [embedding.learnt(configured) for configured in judged.named.views],
            label_texts=corpus.label_texts,
            k=settings.k,
            on_hard=settings.on_hard,
            coverage=settings.coverage,
            names=corpus.labels,
            conformal=calibrated(rule, logits, labels, of_views, alike=alike, reranks=reranks),
            calibration=Calibration.of(found, logits, labels, reranks=reranks),
        )
    except ValueError as error:
        print(f"The run's reranker is not kept, so that it answers no new texts: {error}.", flush=True)
        return
    reason = verdict(settings.deploy, tested)["reason"]
    figures = report.figures(
        judged.fitted, judged.validation, logits=logits, labels=labels, scores=of_views, found=found
    )
    told = {**figures, "verdict": {**judged.verdict.plain(), "deploy": reranks, "reason": reason}}
    (folder / RERANKER).mkdir(parents=True)
    saving.write(folder / RERANKER, {**about, "deploy": "auto", "report": told}, learnt)


def _check(views: Any, corpus: Corpus) -> None:
    """Check that a reranker can be made again.

    Raises:
        ValueError: it cannot.
    """
    if any(isinstance(configured.view, SecondClassifier) for configured in views):
        raise ValueError("its rule asks a second classifier, which no reranker holds")
    texts = corpus.label_texts
    if twice := sorted({text for text in texts if texts.count(text) > 1}):
        raise ValueError(f"two labels have the text {twice[0]!r}")
