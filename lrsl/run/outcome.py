"""What a run comes to: accuracies on test and validation, a line per test sample, and what trackers show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsl import metrics
from lrsl.config import identity
from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.reranking.fusion.log_linear import FittedLogLinear
from lrsl.reranking.fusion.paper import PaperWithPower
from lrsl.run import finished, results
from lrsl.run.commit import commit
from lrsl.run.on_hard import Acted
from lrsl.run.rules import CONTROL, FITTED
from lrsl.run.stages.test import Judged, Tested
from lrsl.training.trainer import machine, precision

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Shares of the test that are reranked, the hardest first, of which results.json has the accuracy."""
PACKAGES = ("lrsl", "torch", "transformers", "sentence-transformers", "pytorch-lightning")


@dataclass
class Measured:
    """The results of a run and its predictions, ready to be written."""

    results: dict[str, Any]
    predictions: list[dict[str, Any]]


def measure(config: Config, corpus: Corpus, tested: Tested, acted: Acted, *, asked: Config) -> Measured:
    """Return accuracies on test and validation, and one line per test sample.

    Reranking looked at the hard samples alone. How the similarity does by itself (Tables 4 and 5) is measured on all.
    Hard and easy are told apart as the paper's rule does it, whatever the system.

    Args:
        config: the run, as the data let it be.
        corpus: its data.
        tested: what the rules answered.
        acted: what became of hard samples.
        asked: the run as it was asked for, by which it is known as finished.
    """
    logits, rule, reranked = tested.logits["test"], tested.paper.fitted, tested.paper.test
    similarity = tested.similarity["test"]
    labels, hard = np.array(corpus.test.labels), reranked.hard.numpy()
    origin = logits.argmax(-1).numpy()
    chosen = tested.deployed(config.reranker.deploy)
    beside = {judged.named.name: _answers(judged, chosen, origin) for judged in tested.beside}
    beside["deployed"] = origin if chosen is None else chosen.test.labels.numpy()
    predicted = {"origin": origin, "rerank": reranked.labels.numpy(), "similarity": _nearest(similarity)}
    probabilities = logits.softmax(-1).numpy()
    outcome: dict[str, Any] = {
        "status": "finished",
        **results.settings(asdict(config)),
        finished.OF: identity.fingerprint(asdict(asked)),
        "classes": len(corpus.labels),
        "turns": corpus.train.turns is not None,
        "n_train": len(corpus.train),
        "n_val": len(corpus.val),
        "n_test": len(corpus.test),
        "n_hard": int(hard.sum()),
        "sigma2_mis": rule.detection.threshold,
        **({"fitted_power": rule.fusion.power} if isinstance(rule.fusion, PaperWithPower) else {}),
        "hard_fraction": float(hard.mean()),
        **{name: metrics.accuracies(prediction, labels, hard) for name, prediction in predicted.items()},
        **_beside(tested, labels, hard, beside),
        "verdict": verdict(config.reranker.deploy, tested),
        "on_hard": acted.told,
        "significance": results.significance(predicted["origin"], predicted["rerank"], labels),
        "selective": _selective(tested, labels),
        "calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "validation": on_validation(corpus, tested),
        "precision": precision(config.trainer),
        "machine": machine(config.trainer),
        "threads": torch.get_num_threads(),
        "data": corpus.fingerprint(),
        "commit": commit(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    before = results.top_k(logits.numpy(), corpus.labels, config.reranker.k)
    after = results.top_k(reranked.scores.numpy(), corpus.labels, config.reranker.k)
    gold_rank = {
        "before": results.ranks(logits.numpy(), labels).tolist(),
        "after": results.ranks(reranked.scores.numpy(), labels).tolist(),
    }
    hardness = rule.detection.detector(logits).tolist()
    others = {judged.named.name: _if_hard(judged, logits, corpus.labels) for judged in tested.beside}
    lines = [
        {
            "id": corpus.test.ids[row],
            "text": corpus.test.texts[row],
            "gold": corpus.labels[labels[row]],
            **{name: corpus.labels[prediction[row]] for name, prediction in (predicted | beside).items()},
            "hard": bool(hard[row]),
            "hardness": hardness[row],
            **({} if acted.answers is None else {"answer": acted.answers[row]}),
            **({"beside": {name: columns[row] for name, columns in others.items()}} if others else {}),
            "gold_rank_before": gold_rank["before"][row],
            "gold_rank_after": gold_rank["after"][row],
            "rerank_if_hard": corpus.labels[int(tested.paper.if_hard[row])],
            "top_k_before": before[row],
            "top_k_after": after[row],
        }
        for row in range(len(labels))
    ]
    return Measured(outcome, lines)


def verdict(deploy: str, tested: Tested) -> dict[str, Any]:
    """Return what is deployed and why, by what cross-fitting on validation says of the rules."""
    chosen = tested.deployed(deploy)
    judged = {"rerank": tested.paper} | {judged.named.name: judged for judged in tested.beside}
    asked = chosen or judged.get(FITTED, tested.paper)
    costs = [
        f"{view.name}: {view.view.cost}"
        for number, view in enumerate(asked.named.views)
        if view.view.cost and asked.fitted.asks(number)
    ]
    return {
        "deployed": "origin" if chosen is None else chosen.named.name,
        "reason": asked.verdict.reason if deploy == "auto" else f"reranker.deploy={deploy}",
        "cost_per_hard_text": costs if chosen is not None else [],
        **{rule: each.verdict.plain() for rule, each in judged.items() if rule in ("rerank", FITTED)},
    }


def _answers(judged: Judged, chosen: Judged | None, origin: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a rule's answers; those of the fitted rule are the classifier's where it does not pay, unless forced."""
    off = judged.named.name == FITTED and not judged.verdict.deploy and judged is not chosen
    return origin if off else judged.test.labels.numpy()


def _if_hard(judged: Judged, logits: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return of each row whether a rule takes it for hard, its detector's number, and the answer if it were hard."""
    parts = judged.test.hard, judged.fitted.detection.detector(logits), judged.if_hard
    return [
        {"hard": hard, "hardness": hardness, "if_hard": names[answer]}
        for hard, hardness, answer in zip(*(part.tolist() for part in parts), strict=True)
    ]


def _beside(
    tested: Tested, labels: np.ndarray[Any, Any], hard: np.ndarray[Any, Any], answers: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what results.json says of the rules beside the paper's: fitted and control, and the others as `rules`."""
    origin = tested.logits["test"].argmax(-1).numpy()
    told = {judged.named.name: _told(judged, labels, hard, answers, origin) for judged in tested.beside}
    own = {name: told.pop(name) for name in (FITTED, CONTROL) if name in told}
    return {**own, **({"rules": told} if told else {})}


def _told(
    judged: Judged,
    labels: np.ndarray[Any, Any],
    hard: np.ndarray[Any, Any],
    answers: Mapping[str, Any],
    origin: np.ndarray[Any, Any],
) -> dict[str, Any]:
    name, fusion = judged.named.name, judged.fitted.fusion
    learnt: dict[str, Any] = {}
    if isinstance(fusion, FittedLogLinear):
        weights = dict(zip([view.name for view in judged.named.views], fusion.beta.tolist(), strict=True))
        learnt = {"temperature": fusion.temperature, "weights": weights}
    return {
        **metrics.accuracies(answers[name], labels, hard),
        "hard_fraction": float(judged.test.hard.double().mean()),
        "threshold": judged.fitted.detection.threshold,
        "views": [view.name for view in judged.named.views],
        **learnt,
        "pays": judged.verdict.deploy,
        **({"if_deployed": metrics.accuracies(judged.test.labels.numpy(), labels, hard)} if name == FITTED else {}),
        "significance": results.significance(origin, answers[name], labels),
    }


def _selective(tested: Tested, labels: np.ndarray[Any, Any]) -> dict[str, dict[str, Any]]:
    """Return how well each rule's detector tells where the classifier errs, and what reranking more rows comes to."""
    logits = tested.logits["test"]
    correct = logits.argmax(-1).numpy() == labels
    told = {}
    for name, judged in (("rerank", tested.paper), *((judged.named.name, judged) for judged in tested.beside)):
        hardness = judged.fitted.detection.detector(logits).double().numpy()
        _, accuracy = metrics.cost_curve(hardness, correct, judged.if_hard.numpy() == labels, SHARES)
        told[name] = {
            "aurc": metrics.aurc(hardness, correct),
            "augrc": metrics.augrc(hardness, correct),
            "accuracy_by_share": dict(zip(map(str, SHARES), accuracy.tolist(), strict=True)),
        }
    return told


def describe_labels(corpus: Corpus, before: Tensor | None, after: Tensor) -> dict[str, Any]:
    """Return what is known of the labels: texts, groups, samples per split, and how like each other they are.

    Args:
        corpus: the data.
        before: cosines of the labels' embeddings off the shelf, `(classes, classes)`; None when that is all there is.
        after: the same as the run used them (Figure 9).
    """
    splits = {"train": corpus.train, "val": corpus.val, "test": corpus.test}
    classes = len(corpus.labels)
    return {
        "labels": corpus.labels,
        "texts": corpus.label_texts,
        "groups": corpus.groups,
        "counts": {name: np.bincount(split.labels, minlength=classes).tolist() for name, split in splits.items()},
        "similarity_before": None if before is None else _rounded(before),
        "similarity_after": _rounded(after),
    }


def _rounded(similarity: Tensor) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in similarity.tolist()]


def _nearest(similarity: Tensor) -> np.ndarray[Any, Any]:
    """Return the label with the highest score in each row; one that is not scored is none."""
    return similarity.nan_to_num(nan=-np.inf).argmax(-1).numpy()


def on_validation(corpus: Corpus, tested: Tested) -> dict[str, Any]:
    """Return accuracies on the validation split, which is what options may be chosen by.

    Rules were fitted on the same rows; what they gain on rows they have not seen is told by the verdict.
    """
    logits, labels = tested.logits["val"], np.array(corpus.val.labels)
    hard = tested.paper.validation.hard.numpy()
    origin = logits.argmax(-1).numpy()
    predicted = {
        "origin": origin,
        "rerank": tested.paper.validation.labels.numpy(),
        "similarity": _nearest(tested.similarity["val"]),
        **{judged.named.name: judged.validation.labels.numpy() for judged in tested.beside},
    }
    accuracies = {name: metrics.accuracies(answers, labels, hard) for name, answers in predicted.items()}
    return {"hard_fraction": float(hard.mean()), **accuracies}


def summary_metrics(outcome: dict[str, Any]) -> dict[str, float]:
    """Return the metrics by which runs are compared, under the same names everywhere."""
    shown = {"val/sigma2_mis": outcome["sigma2_mis"], "test/hard_fraction": outcome["hard_fraction"]}
    systems = [system for system in results.SYSTEMS if system in outcome]
    for system in systems:
        for name in ("accuracy", "accuracy_hard", "accuracy_easy"):
            if outcome[system][name] is not None:
                shown[f"test/{system}_{name.replace('accuracy', 'acc')}"] = outcome[system][name]
    for system in systems:
        shown[f"val/{system}_acc"] = outcome["validation"][system]["accuracy"]
    shown["test/gain"] = outcome["significance"]["gain"]
    shown["test/p_value"] = outcome["significance"]["p_value"]
    for system in (FITTED, CONTROL):
        if system in outcome:
            shown[f"test/{system}_gain"] = outcome[system]["significance"]["gain"]
    for system in ("rerank", FITTED, CONTROL):
        for name in ("aurc", "augrc"):
            if system in outcome["selective"]:
                shown[f"test/{system}_{name}"] = outcome["selective"][system][name]
    for name in ("answered", "accuracy_answered", "coverage", "mean_size", "calls"):
        if outcome["on_hard"]["action"] != "rerank" and outcome["on_hard"].get(name) is not None:
            shown[f"test/on_hard_{name}"] = outcome["on_hard"][name]
    return shown


def hard_sample_table(predictions: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of the hard samples before and after reranking."""
    columns = ["id", "text", "gold", "origin", "rerank", "hardness", "top_k_before", "top_k_after"]
    rows = [[_cell(line[column]) for column in columns] for line in predictions if line["hard"]]
    return columns, rows


def _cell(value: Any) -> Any:
    return "; ".join(f"{label} {score:.4g}" for label, score in value) if isinstance(value, list) else value
