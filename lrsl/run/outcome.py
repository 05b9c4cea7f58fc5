"""What a run comes to: accuracies on test and validation, a line per test sample, and what trackers show of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from torch import Tensor

from lrsl import metrics
from lrsl.config.schema import Config
from lrsl.data.corpus import Corpus
from lrsl.reranking.fusion.paper import PaperWithPower
from lrsl.reranking.rule import FittedRule, Reranked, recorded_scores
from lrsl.run import results
from lrsl.run.commit import commit
from lrsl.training.trainer import machine, precision

PACKAGES = ("lrsl", "torch", "transformers", "sentence-transformers", "pytorch-lightning")


@dataclass
class Measured:
    """The results of a run and its predictions, ready to be written."""

    results: dict[str, Any]
    predictions: list[dict[str, Any]]


@dataclass
class Tested:
    """What a run has found, to be measured.

    Attributes:
        logits: the classifier's, `(n, classes)`, on val and test.
        similarity: the view's scores of the texts of val and test, `(n, classes)`.
        rule: what was fitted on val.
        reranked: what reranking made of the test.
    """

    logits: Mapping[str, Tensor]
    similarity: Mapping[str, Tensor]
    rule: FittedRule
    reranked: Reranked


def measure(config: Config, corpus: Corpus, tested: Tested) -> Measured:
    """Return accuracies on test and validation, and one line per test sample.

    Reranking looked at the hard samples alone. How the similarity does by itself (Tables 4 and 5) is measured on all.
    """
    logits, rule, reranked = tested.logits["test"], tested.rule, tested.reranked
    similarity = tested.similarity["test"]
    labels, hard = np.array(corpus.test.labels), reranked.hard.numpy()
    if_hard = rule.fusion(logits, [similarity])
    predicted = {
        "origin": logits.argmax(-1).numpy(),
        "rerank": reranked.labels.numpy(),
        "similarity": _nearest(similarity),
    }
    probabilities = logits.softmax(-1).numpy()
    outcome: dict[str, Any] = {
        "status": "finished",
        **results.settings(asdict(config)),
        "classes": len(corpus.labels),
        "n_train": len(corpus.train),
        "n_val": len(corpus.val),
        "n_test": len(corpus.test),
        "n_hard": int(hard.sum()),
        "sigma2_mis": rule.detection.threshold,
        **({"fitted_power": rule.fusion.power} if isinstance(rule.fusion, PaperWithPower) else {}),
        "hard_fraction": float(hard.mean()),
        **{name: metrics.accuracies(prediction, labels, hard) for name, prediction in predicted.items()},
        "significance": results.significance(predicted["origin"], predicted["rerank"], labels),
        "calibration_error": metrics.expected_calibration_error(probabilities, labels),
        "validation": on_validation(corpus, tested),
        "precision": precision(config.trainer),
        "machine": machine(config.trainer),
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
    lines = [
        {
            "id": corpus.test.ids[row],
            "text": corpus.test.texts[row],
            "gold": corpus.labels[labels[row]],
            **{name: corpus.labels[prediction[row]] for name, prediction in predicted.items()},
            "hard": bool(hard[row]),
            "hardness": hardness[row],
            "gold_rank_before": gold_rank["before"][row],
            "gold_rank_after": gold_rank["after"][row],
            "rerank_if_hard": corpus.labels[int(if_hard[row].argmax())],
            "top_k_before": before[row],
            "top_k_after": after[row],
        }
        for row in range(len(labels))
    ]
    return Measured(outcome, lines)


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
    """Return accuracies on the validation split, which is what options may be chosen by."""
    logits, labels = tested.logits["val"], np.array(corpus.val.labels)
    similarity = tested.similarity["val"]
    reranked = tested.rule.rerank(logits, [recorded_scores(similarity)])
    hard = reranked.hard.numpy()
    predicted = {
        "origin": logits.argmax(-1).numpy(),
        "rerank": reranked.labels.numpy(),
        "similarity": _nearest(similarity),
    }
    accuracies = {name: metrics.accuracies(answers, labels, hard) for name, answers in predicted.items()}
    return {"hard_fraction": float(hard.mean()), **accuracies}


def summary_metrics(outcome: dict[str, Any]) -> dict[str, float]:
    """Return the metrics by which runs are compared, under the same names everywhere."""
    shown = {"val/sigma2_mis": outcome["sigma2_mis"], "test/hard_fraction": outcome["hard_fraction"]}
    for system in ("origin", "rerank", "similarity"):
        for name, value in outcome[system].items():
            if value is not None:
                shown[f"test/{system}_{name.replace('accuracy', 'acc')}"] = value
    for system in ("origin", "rerank", "similarity"):
        shown[f"val/{system}_acc"] = outcome["validation"][system]["accuracy"]
    shown["test/gain"] = outcome["significance"]["gain"]
    shown["test/p_value"] = outcome["significance"]["p_value"]
    return shown


def hard_sample_table(predictions: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of the hard samples before and after reranking."""
    columns = ["id", "text", "gold", "origin", "rerank", "hardness", "top_k_before", "top_k_after"]
    rows = [[_cell(line[column]) for column in columns] for line in predictions if line["hard"]]
    return columns, rows


def _cell(value: Any) -> Any:
    return "; ".join(f"{label} {score:.4g}" for label, score in value) if isinstance(value, list) else value
