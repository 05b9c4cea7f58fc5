"""Folders as runs and sweeps leave them, made of random logits and similarities instead of training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lrsl import metrics
from lrsl.run import results

LABELS = ("balance", "roaming", "cancel", "complaint", "tariff")
CHINESE = ("账户信息查询", "费用问题", "业务取消", "服务使用问题", "资费查询")


def write_run(
    folder: Path,
    *,
    dataset: str = "telecom",
    model: str = "bert",
    seed: int = 0,
    names: tuple[str, ...] = LABELS,
    n: int = 120,
    k: int = 3,
    text: str = "Customer: what is this on my bill?",
    old: bool = False,
) -> Path:
    """Write one finished run and return its folder; an old one lacks labels.json and the ranks of the gold label."""
    generator = np.random.default_rng([seed, len(model), len(dataset)])
    gold = generator.integers(len(names), size=n)
    right = np.eye(len(names))[gold]
    logits = 1.5 * generator.normal(size=(n, len(names))) + 2.2 * right
    similarity = np.clip(0.25 + 0.2 * generator.normal(size=logits.shape) + 0.35 * right, 0.01, 1)
    best = -np.sort(-logits, axis=1)[:, :k]
    hardness = best.var(axis=1)
    threshold = float(hardness[logits.argmax(1) != gold].mean())
    hard = hardness < threshold
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if_hard = similarity * softmax
    scores = np.where(hard[:, None], if_hard, softmax)
    predicted = {"origin": logits.argmax(1), "rerank": scores.argmax(1), "similarity": similarity.argmax(1)}
    before, after = results.top_k(logits, names, k), results.top_k(scores, names, k)
    order = {"before": np.argsort(-logits, axis=1), "after": np.argsort(-scores, axis=1)}
    lines: list[dict[str, Any]] = [
        {
            "id": f"test-{row}",
            "text": f"{text} ({row})",
            "gold": names[gold[row]],
            **{name: names[labels[row]] for name, labels in predicted.items()},
            "hard": bool(hard[row]),
            "hardness": float(hardness[row]),
            "rerank_if_hard": names[if_hard[row].argmax()],
            **{f"gold_rank_{when}": int((of[row] == gold[row]).argmax()) + 1 for when, of in order.items()},
            "top_k_before": before[row],
            "top_k_after": after[row],
        }
        for row in range(n)
    ]
    outcome = {
        "status": "finished",
        "dataset": dataset,
        "model": model,
        "embedding": "minilm",
        "seed": seed,
        "k": k,
        "power": 1.0,
        "classes": len(names),
        "n_train": 30 * len(names),
        "n_val": 40,
        "n_test": n,
        "n_hard": int(hard.sum()),
        "sigma2_mis": threshold,
        "hard_fraction": float(hard.mean()),
        **{name: metrics.accuracies(labels, gold, hard) for name, labels in predicted.items()},
        "significance": results.significance(predicted["origin"], predicted["rerank"], gold),
        "versions": {"lrsl": "0.1.0", "torch": "2.13.0"},
    }
    results.write(folder, outcome, lines)
    settings = {"dataset": {"name": dataset}, "model": {"name": model, "epochs": 3, "lr": 1e-4}, "seed": seed}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    if old:
        for line in lines:
            del line["gold_rank_before"], line["gold_rank_after"]
        results.write(folder, outcome, lines)
    else:
        (folder / "labels.json").write_text(json.dumps(describe(names, generator)), encoding="utf-8")
    return folder


def describe(names: tuple[str, ...], generator: np.random.Generator) -> dict[str, Any]:
    """Return the content of labels.json: two groups, and labels that fine-tuning has moved apart."""
    n = len(names)
    before = np.eye(n) + (1 - np.eye(n)) * generator.uniform(0.4, 0.7, size=(n, n))
    after = np.eye(n) + (1 - np.eye(n)) * generator.uniform(-0.1, 0.3, size=(n, n))
    return {
        "labels": names,
        "texts": [f"question about {name}" for name in names],
        "groups": ["inquiry" if label % 2 else "complaint" for label in range(n)],
        "counts": {split: [(3 * n) // (label + 1) for label in range(n)] for split in ("train", "val", "test")},
        "similarity_before": ((before + before.T) / 2).tolist(),
        "similarity_after": ((after + after.T) / 2).tolist(),
    }


def write_sweep(root: Path, runs: list[dict[str, Any]], failed: tuple[str, ...] = ()) -> Path:
    """Write a sweep of these runs, each given as the arguments of `write_run`, and return its folder."""
    sweep = root / "sweeps" / "fabricated-0000"
    sweep.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for arguments in runs:
        dataset, model, seed = (
            arguments.get("dataset", "telecom"),
            arguments.get("model", "bert"),
            arguments.get("seed", 0),
        )
        folder = write_run(root / dataset / model / "0a1b2c3d" / f"seed{seed}", **arguments)
        lines.append(
            {
                "dataset": dataset,
                "model": model,
                "configuration": "0a1b2c3d",
                "seed": seed,
                "folder": str(folder),
                "overrides": [f"dataset={dataset}", f"model={model}", f"seed={seed}"],
                "status": "finished",
                "error": None,
            }
        )
    lines += [{"overrides": [override], "status": "failed", "error": "no such luck"} for override in failed]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (sweep / "runs.jsonl").write_text(text, encoding="utf-8")
    return sweep
