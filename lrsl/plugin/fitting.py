"""What `Reranker.fit` is given, checked, and what it learns from it."""

from __future__ import annotations

import copy
import functools
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from lrsl.embedding.apart import check_apart
from lrsl.embedding.finetuning import embedding_settings, finetuned
from lrsl.nn.trust import OWN
from lrsl.plugin.calibration import Calibration, cross_fitted
from lrsl.plugin.report import figures
from lrsl.reranking.folds import first_alike, folds
from lrsl.reranking.on_hard.conformal import Conformal, calibrated
from lrsl.reranking.positional import labels_of, logits_of, texts_of
from lrsl.reranking.rule import Detection, FittedRule, RowScores, Rule, recorded_scores, scores_of_texts
from lrsl.reranking.verdict import verdict
from lrsl.reranking.view import FittedCandidateView, FittedView, Given, View
from lrsl.text import repeated

FOLDS = 5  # in which views are fitted that have to score the rows they learn from


@dataclass(frozen=True)
class Classes:
    """The classes of a reranker, in the order of the logits' columns.

    Attributes:
        texts: what each means.
        names: what each is called, where that is not its text.
    """

    texts: list[str]
    names: list[str] | None = None

    @property
    def called(self) -> list[str]:
        """What labels and answers name the classes by."""
        return self.names or self.texts

    def logits(self, given: Any, of: str = "") -> Tensor:
        """Return logits `(n, classes)` of theirs."""
        return logits_of(given, len(self.texts), f"{of}logits", self.called)

    def logits_for(self, given: Any, texts: Sequence[str], of: str = "") -> Tensor:
        """Return logits with a row per text."""
        values = self.logits(given, of)
        if len(texts) != len(values):
            raise ValueError(f"there are {len(texts)} {of}texts for {len(values)} rows of {of}logits")
        return values

    def labels(self, given: Any, what: str = "labels") -> Tensor:
        """Return labels `(n,)`, given by number or by what the classes are called."""
        return labels_of(given, len(self.texts), self.called, what, "names" if self.names else "label texts")


@dataclass(frozen=True)
class Rows:
    """Labelled rows.

    Attributes:
        texts: their texts.
        labels: their true labels, `(n,)`.
        logits: the classifier's, `(n, classes)`; None where training rows come without.
    """

    texts: list[str]
    labels: Tensor
    logits: Tensor | None


def held_out_rows(logits: Any, labels: Any, texts: Any, classes: Classes) -> tuple[list[str], Tensor, Tensor]:
    """Return texts, logits and labels of the held-out rows.

    Raises:
        ValueError: they have no order, do not fit each other or the classes, or there are none.
    """
    given = texts_of(texts)
    values = classes.logits_for(logits, given)
    gold = classes.labels(labels)
    if len(gold) != len(values):
        raise ValueError(f"there are {len(gold)} labels for {len(values)} rows of logits")
    if not len(values):
        raise ValueError("there are no held-out rows; the threshold is learnt from some the classifier gets wrong")
    return given, values, gold


def training_rows(train: Any, classes: Classes) -> Rows:
    """Return the training rows in `train=(texts, labels, logits)`.

    Raises:
        ValueError: it is none, or they do not fit each other or the classes, or there are none.
    """
    if not isinstance(train, tuple | list) or len(train) != 3:
        parts = f"of length {len(train)}" if isinstance(train, tuple | list) else f"of type {type(train).__name__}"
        raise ValueError(f"train is {parts}; give (texts, labels, logits), of which the logits may be None")
    texts = texts_of(train[0], "train texts")
    gold = classes.labels(train[1], "train labels")
    if len(texts) != len(gold):
        raise ValueError(f"train has {len(texts)} texts and {len(gold)} labels")
    if not texts:
        raise ValueError("train has no rows; leave it out to take the embedder as it is")
    return Rows(texts, gold, None if train[2] is None else classes.logits_for(train[2], texts, "train "))


def warn_of_trained_on(held_out: Sequence[str], train: Sequence[str]) -> None:
    """Warn where more than a hundredth of the held-out texts are trained on, which makes a verdict too good."""
    known = repeated(held_out, train)
    if known > len(held_out) / 100:
        warnings.warn(
            f"{known:,} of {len(held_out):,} held-out texts also stand in train, so that what is found on them, the "
            "verdict among it, is too good to be true; hold out rows of other texts",
            stacklevel=4,
        )


def settings_of(recipe: Mapping[str, Any], k: int, *, train: bool = False, embedder: bool = False) -> Any:
    """Return how the embedding is fine-tuned, for `finetuned`.

    Args:
        recipe: keys of the configuration's `embedding`, and their values.
        k: of the reranker, for `negatives=confused`.
        train: whether there are training rows.
        embedder: whether there is an embedder.

    Raises:
        ValueError: there is nothing to fine-tune, or on.
        InputError: a key is unknown, has no effect here, or its value is out of range.
    """
    if recipe and not (train and embedder):
        missing = "an embedder" if train else "train, the rows to fine-tune the embedding on"
        raise ValueError(f"{min(recipe)} has no effect without {missing}")
    takes_k = "k" not in recipe and recipe.get("negatives") == "confused"
    return embedding_settings(k=k, **recipe) if takes_k else embedding_settings(**recipe)


def prepared(
    given: Given,
    training: Rows | None,
    held_out: tuple[Sequence[str], Tensor],
    views: Sequence[View],
    how: Any,
) -> tuple[Given, SentenceTransformer | None, list[float] | None]:
    """Return what views learn from, and the embedder that was fine-tuned with its accuracy per epoch, if any was.

    Args:
        given: label texts and the embedder.
        training: rows to fine-tune the embedder on, and for views to learn from.
        held_out: texts and labels `(n,)` by which the best epoch is chosen.
        views: ask for the embedding or not.
        how: the recipe.

    Raises:
        InputError: the embedder gives two label texts the same vector, or cannot be fine-tuned.
    """
    load = given.load_embedding
    finetune = training is not None and load is not None and how.finetune
    if load is not None and (finetune or any(bool(getattr(view, "embeds_label_texts", False)) for view in views)):
        check_apart(load(), given.label_texts)
    if training is None:
        return given, None, None
    given = replace(given, texts=training.texts, labels=training.labels.tolist())
    if load is None or not finetune:
        return given, None, None
    rows = (training.texts, training.labels, training.logits)
    embedder, accuracies = finetuned(load(), list(given.label_texts), rows, (list(held_out[0]), held_out[1]), how)
    untuned = functools.cache(lambda: copy.deepcopy(load()))  # whatever becomes of the one that was handed in
    return replace(given, load_embedding=lambda: embedder, load_untuned=untuned), embedder, accuracies


def can_be_packed(embedder: Any) -> bool:
    """Tell, with a warning if not, whether an embedder is made of what can be loaded again without running code."""
    if not isinstance(embedder, SentenceTransformer):
        return True
    own = [type(module) for module in embedder if not type(module).__module__.startswith(OWN)]
    if own:
        warnings.warn(
            f"the embedder has a module of your own ({own[0].__qualname__}), so that no reranker can hold it as it was "
            "before it was fine-tuned, and the view linear_probe is left out",
            stacklevel=4,
        )
    return not own


def scores_out_of_fold(
    view: View, fitted: FittedView | FittedCandidateView, given: Given, logits: Tensor, k: int
) -> Tensor:
    """Return a view's scores `(n, classes)` of the rows that it learns from, each as if it had not been learnt from.

    A view that knows these itself, by `of_training`, or learns nothing from rows, is asked; any other is fitted on the
    rest of the rows in turns, with rows of the same text left out too.

    Args:
        view: not fitted.
        fitted: the same, fitted on all rows.
        given: what it was fitted on.
        logits: the classifier's of the rows, `(n, classes)`.
        k: number of candidates.
    """
    if not getattr(view, "learns_from_rows", True):
        return scores_of_texts(view, fitted, given.texts, k)(torch.arange(len(logits)), logits).cpu()
    own = getattr(fitted, "of_training", None)
    if callable(own) and (known := own(torch.arange(len(logits)))) is not None:
        return cast(Tensor, known).cpu()
    scores = torch.full(logits.shape, torch.nan, dtype=torch.promote_types(logits.dtype, torch.float32))
    candidates = logits.topk(min(k, logits.shape[1]), dim=-1).indices
    for others, rows in folds(len(logits), FOLDS, first_alike(given.texts), torch.tensor(given.labels)):
        seen = replace(
            given,
            texts=[given.texts[row] for row in others.tolist()],
            labels=[given.labels[row] for row in others.tolist()],
            candidates=partial(candidates.__getitem__, others),
        )
        score = scores_of_texts(view, view.fit(seen), [given.texts[row] for row in rows.tolist()], k)
        scores[rows] = score(torch.arange(len(rows)), logits[rows]).cpu().to(scores.dtype)
    return scores


@dataclass(frozen=True)
class Learnt:
    """What was learnt from held-out rows.

    Attributes:
        rule: detector, threshold and fusion.
        conformal: what sets of labels are made with.
        calibration: what probabilities are made with.
        report: what was found on the rows.
        seconds: what each view took for all rows.
    """

    rule: FittedRule
    conformal: Conformal
    calibration: Calibration
    report: dict[str, Any]
    seconds: list[float]


def learnt(
    rule: Rule,
    logits: Tensor,
    labels: Tensor,
    views: Sequence[RowScores],
    *,
    detection: Detection | None,
    deploy: str,
    alike: Tensor | None = None,
) -> Learnt:
    """Fit a rule, and judge it by cross-fitting.

    Args:
        rule: what is fitted.
        logits: the classifier's on held-out rows, `(n, classes)`.
        labels: true labels, `(n,)`.
        views: what each view makes of the rows.
        detection: which rows are hard, where that is known already.
        deploy: `always`, or `auto` to rerank where the verdict says so.
        alike: of each row the first with the same text, `(n,)`; None where no text is known.
    """
    scores, seconds = scores_and_seconds(views, logits)
    fitted = rule.fit(logits, labels, [recorded_scores(score) for score in scores], detection, alike=alike)
    reranked = fitted.rerank(logits, [recorded_scores(score) for score in scores])
    judged = verdict(rule, logits, labels, scores, alike=alike)
    found = cross_fitted(rule, logits, labels, scores, alike=alike)
    reranks = deploy == "always" or judged.deploy
    return Learnt(
        fitted,
        calibrated(rule, logits, labels, scores, alike=alike, reranks=reranks),
        Calibration.of(found, logits, labels, reranks=reranks),
        figures(fitted, reranked, logits=logits, labels=labels, scores=scores, found=found)
        | {"verdict": judged.plain()},
        seconds,
    )


def scores_and_seconds(views: Sequence[RowScores], logits: Tensor) -> tuple[list[Tensor], list[float]]:
    """Return what each view makes of rows with logits `(n, classes)`, and how long it takes."""
    scores, seconds, every = [], [], torch.arange(len(logits))
    for view in views:
        start = time.perf_counter()
        scores.append(view(every, logits).cpu())
        seconds.append(time.perf_counter() - start)
    return scores, seconds
