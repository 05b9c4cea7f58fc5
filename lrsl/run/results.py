"""What a run leaves behind: results.json, predictions.jsonl and the table a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lrsl import files, metrics
from lrsl.masking import without_credentials
from lrsl.run import shapes
from lrsl.screen import Screen, literal
from lrsl.strict_json import parsed

RESULTS = "results.json"
PREDICTIONS = "predictions.jsonl"
LABELS = "labels.json"
SCORES = "scores.safetensors"
SUSPECTS = "suspect_labels.jsonl"

SYSTEMS = ("origin", "rerank", "fitted", "control", "similarity")
"""What a run may measure, in the order in which it is shown; fitted and control where there are any."""

Labels = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]


def settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what results.json says of a run's configuration, by which studies place the run, finished or failed."""
    embedding, reranker = configuration["embedding"], configuration["reranker"]
    told = {
        "dataset": configuration["dataset"]["name"],
        "model": configuration["model"]["name"],
        "embedding": embedding["name"] if embedding["finetune"] else f"{embedding['name']} off the shelf",
        "embedding_finetuned": embedding["finetune"],
        "negatives": embedding["negatives"] if embedding["finetune"] else None,
        "seed": configuration["seed"],
        "k": reranker["k"],
        "power": reranker["power"],
    }
    return {key: without_credentials(value) if isinstance(value, str) else value for key, value in told.items()}


def significance(origin: Labels, rerank: Labels, labels: Labels) -> dict[str, float | int]:
    """Return the gain of rerank over origin with its bootstrap interval, and McNemar's exact test."""
    before, after = origin == labels, rerank == labels
    gain = metrics.bootstrap_gain(before, after)
    test = metrics.mcnemar(before, after)
    return {
        "gain": gain.gain,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "only_origin_correct": test.only_a,
        "only_rerank_correct": test.only_b,
        "p_value": test.p_value,
    }


def top_k(scores: Scores, names: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
    """Return the k best labels of each row with their scores, best first; equal scores keep the order of the labels."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[(names[j], float(row[j])) for j in best] for row, best in zip(scores, order, strict=True)]


def ranks(scores: Scores, labels: Labels) -> Labels:
    """Return the place of each row's true label, 1 for the best; equal scores keep the order of the labels."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places: Labels = (order == labels[:, None]).argmax(axis=1) + 1
    return places


def write(
    folder: Path,
    results: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]] | None = None,
    labels: Mapping[str, Any] | None = None,
    suspects: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write labels.json, suspect labels and predictions, if any, and then results.json, each whole or not at all."""
    if labels is not None:
        files.write(folder / LABELS, json.dumps(labels, ensure_ascii=False) + "\n")
    for name, content in ((SUSPECTS, suspects), (PREDICTIONS, predictions)):
        if content is not None:
            lines = (json.dumps(line, ensure_ascii=False) for line in content)
            files.write(folder / name, "".join(f"{line}\n" for line in lines))
    files.write(folder / RESULTS, json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read(folder: Path) -> dict[str, Any] | None:
    """Return the results in a folder, or None when there are none or they are damaged."""
    try:
        results = parsed((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) else None


def read_figures(folder: Path) -> dict[str, Any] | None:
    """Return the results in a folder that runs are compared by; None where a figure is missing or of another kind."""
    results = read(folder)
    return None if shapes.wrong(results, shapes.COMPARED, shapes.MAY_BE_COMPARED) else results


def show(results: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one small table of what the systems come to, what the difference is worth, and what is deployed."""
    title = f"{results['dataset']}, {results['model']}, seed {results['seed']}: accuracy in %"
    table = Table(title=literal(title), title_justify="left")
    table.add_column("")
    parts = {"accuracy": results["n_test"], "accuracy_hard": results["n_hard"]}
    parts["accuracy_easy"] = results["n_test"] - results["n_hard"]
    for name, n in parts.items():
        table.add_column(f"{name.removeprefix('accuracy').strip('_') or 'all'} ({n:,})", justify="right")
    for system in SYSTEMS:
        if system not in results:
            continue
        values = [results[system][name] for name in parts]
        table.add_row(literal(system), *("–" if value is None else f"{100 * value:.2f}" for value in values))
    console = console or Screen()
    console.print(table)
    for system in ("rerank", "fitted", "control"):
        if system in results:
            worth = results["significance"] if system == "rerank" else results[system]["significance"]
            console.print(literal(f"{system} − origin: {_told(worth)}"), soft_wrap=True)
    hard = f"hard samples: {100 * results['hard_fraction']:.1f} % of test"
    console.print(literal(f"σ²_mis = {results['sigma2_mis']:.4g} from validation; {hard}"), soft_wrap=True)
    if "verdict" in results:
        verdict = results["verdict"]
        console.print(literal(f"deployed: {verdict['deployed']} ({verdict['reason']})"), soft_wrap=True)
    on_hard = results.get("on_hard", {"action": "rerank"})
    if on_hard["action"] != "rerank":
        console.print(literal(f"hard samples: {on_hard['action']}, {_of_hard(on_hard)}"), soft_wrap=True)


def _of_hard(told: Mapping[str, Any]) -> str:
    """Return in a sentence what became of hard samples that were not left to what is deployed."""
    parts = [f"{100 * told['answered']:.1f} % of test have one answer"]
    if told["accuracy_answered"] is not None:
        parts.append(f"{100 * told['accuracy_answered']:.2f} % of these are right")
    if told.get("all_labels"):
        parts.append(f"sets are all labels, for {told['n_calibration']} hard validation samples are too few")
    elif told.get("coverage") is not None:
        parts.append(
            f"sets of {told['mean_size']:.1f} labels hold the true one for {100 * told['coverage']:.1f} % of the hard, "
            f"stated {100 * told['stated_coverage']:.1f} %"
        )
    if "calls" in told:
        parts.append(f"{told['calls']:,} asked elsewhere")
    return ", ".join(parts)


def _told(worth: Mapping[str, Any]) -> str:
    return (
        f"{100 * worth['gain']:+.2f} points "
        f"(95 % interval {100 * worth['gain_low']:+.2f} to {100 * worth['gain_high']:+.2f}), "
        f"{worth['only_rerank_correct']} mended, {worth['only_origin_correct']} broken, "
        f"McNemar p = {worth['p_value']:.3g}"
    )
