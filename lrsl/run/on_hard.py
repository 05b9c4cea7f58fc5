"""What becomes of a run's hard samples: reranked as deployed, not answered, answered with a set, or asked elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.errors import InputError
from lrsl.reranking.folds import first_alike
from lrsl.reranking.on_hard import NO_LABEL
from lrsl.reranking.on_hard.conformal import Conformal, calibrated, check_installed, label_sets
from lrsl.reranking.on_hard.defer import Defer, Endpoint, deferred
from lrsl.reranking.rule import Reranked
from lrsl.run.rules import answers_hard_rows, made_with, named_object
from lrsl.run.stages.test import Scores, Tested


@dataclass(frozen=True)
class Acted:
    """What became of the test.

    Attributes:
        told: what results.json says of it.
        answers: to each sample a label, None or several labels; None where that is what is deployed anyway.
        conformal: what sets of labels were made with.
    """

    told: dict[str, Any]
    answers: Sequence[str | list[str] | None] | None = None
    conformal: Conformal | None = None


def deferral(config: Config) -> Defer | None:
    """Return who is asked about hard samples, and check that what they need is there, before anything is trained.

    Raises:
        InputError: it cannot be made, or a package is missing.
    """
    reranker = config.reranker
    if reranker.on_hard == "set":
        check_installed()
    if reranker.on_hard != "defer":
        return None
    if "url" in reranker.defer:
        return made_with("defer", "lrsl.Endpoint", Endpoint, reranker.defer)  # type: ignore[no-any-return]
    name, made = named_object("defer", reranker.defer)
    if not answers_hard_rows(made):
        raise InputError(
            f"reranker.defer._target_={name} cannot be called; name a function of text, candidates and scores, which "
            "are the names of what it takes, or a class whose __call__ is one"
        )
    if isinstance(made, type):
        made = made_with("defer", name, made, reranker.defer)
    elif len(reranker.defer) > 1:
        unused = next(key for key in reranker.defer if key != "_target_")
        raise InputError(f"reranker.defer.{unused} has no effect, for {name} is no class; leave it out")
    return made  # type: ignore[no-any-return]


def act(
    config: Config, corpus: Corpus, tested: Tested, scores: Mapping[str, Scores], defer: Defer | None = None
) -> Acted:
    """Do with the hard samples of the test what the configuration says, and measure what that comes to.

    Hard is what the deployed rule says is hard. Where the classifier alone is deployed, it is what the fitted rule
    says, or without one the paper's, and labels are ranked by the classifier. Nothing is chosen by the test's labels.

    Args:
        config: the run.
        corpus: its data.
        tested: what the rules make of them.
        scores: each rule's views' on val and test.
        defer: answers hard samples, with `on_hard=defer`.
    """
    settings, logits = config.reranker, tested.logits["test"]
    chosen, judged = tested.deployed(settings.deploy), tested.telling(settings.deploy)
    ranked = judged.test
    if chosen is None:
        ranked = Reranked(ranked.hard, (), logits.softmax(dim=-1), logits.argmax(dim=-1))
    gold = torch.tensor(corpus.test.labels)
    told = {
        "action": settings.on_hard,
        "detector": judged.named.name,
        "hard_fraction": float(ranked.hard.double().mean()),
    }
    if settings.on_hard == "set":
        conformal = calibrated(
            judged.named.rule,
            tested.logits["val"],
            torch.tensor(corpus.val.labels),
            scores[judged.named.name]["val"],
            alike=first_alike(corpus.val.texts),
            reranks=chosen is not None,
        )
        sets = label_sets(conformal, ranked, logits, settings.coverage, reranks=chosen is not None)
        told |= _of_sets(conformal, sets, gold, ranked.hard, settings.coverage)
        single = sets.sum(dim=-1) == 1
        told |= _of_labels(sets.int().argmax(dim=-1).where(single, NO_LABEL), gold)
        named = [[corpus.labels[label] for label in row.nonzero().flatten().tolist()] for row in sets]
        return Acted(told, [names[0] if len(names) == 1 else names for names in named], conformal)
    labels = ranked.labels
    if settings.on_hard == "abstain":
        labels = labels.masked_fill(ranked.hard, NO_LABEL)
    elif defer is not None:
        labels = _asked(defer, config, corpus, labels, ranked)
        told |= {"calls": int(ranked.hard.sum()), "accuracy": float((labels == gold).double().mean())}
    told |= _of_labels(labels, gold)
    if settings.on_hard == "rerank":
        return Acted(told)
    return Acted(told, [None if label == NO_LABEL else corpus.labels[label] for label in labels.tolist()])


def _asked(defer: Defer, config: Config, corpus: Corpus, labels: Tensor, ranked: Reranked) -> Tensor:
    """Return the labels `(n,)` with what is answered elsewhere.

    Raises:
        InputError: who is asked fails, or answers what is no label.
    """
    texts, names, k = corpus.test.texts, corpus.labels, config.reranker.k
    try:
        return deferred(defer, labels, ranked.hard, ranked.scores, texts=texts, names=names, k=k)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"reranker.defer failed: {reason}; what was trained is kept, so the same run goes on"
        ) from None


def _of_labels(labels: Tensor, gold: Tensor) -> dict[str, Any]:
    """Return the share of samples that have one label, and the accuracy on these."""
    answered = labels != NO_LABEL
    right = (labels == gold)[answered]
    return {
        "answered": float(answered.double().mean()),
        "accuracy_answered": float(right.double().mean()) if len(right) else None,
    }


def _of_sets(conformal: Conformal, sets: Tensor, gold: Tensor, hard: Tensor, coverage: float) -> dict[str, Any]:
    """Return what was stated of the sets of hard samples, and what they come to."""
    of_hard = sets[hard]
    measured: dict[str, float | None] = {"coverage": None, "mean_size": None}
    if hard.any():
        hit = of_hard.gather(1, gold[hard][:, None])
        measured = {"coverage": hit.double().mean().item(), "mean_size": of_hard.sum(dim=-1).double().mean().item()}
    return {
        "stated_coverage": coverage,
        **measured,
        "n_calibration": len(conformal.nonconformity),
        "all_labels": not conformal.suffices(coverage),
    }
