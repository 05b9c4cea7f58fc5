"""Result folders as runs leave them, with figures that can be told by heart."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrsl import metrics
from lrsl.run import results

N = 100
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "data_dir": "/data",
    "rerun": False,
    "cache": True,
    "logger": {"name": "wandb", "tags": []},
    "trainer": {"precision": "auto", "progress": True},
    "dataset": {"licence": "none"},
    "model": {"lr": 1e-4, "epochs": 6},
    "embedding": {"name": "minilm", "finetune": True, "negatives": "all", "k": 3, "lr": 2e-4},
    "reranker": {"k": 3, "power": 1.0},
}


def settings(**changed: Any) -> dict[str, Any]:
    """A config.json, changed at keys such as `embedding__negatives`."""
    made: dict[str, Any] = json.loads(json.dumps(SETTINGS))
    for key, value in changed.items():
        *groups, last = key.split("__")
        node = made
        for group in groups:
            node = node[group]
        node[last] = value
    return made


def answers(right: int, also: Iterable[int] = ()) -> np.ndarray:
    """Which of the N test samples are answered rightly: the first ones, and some of the others."""
    correct = np.arange(N) < right
    correct[list(also)] = True
    return correct


def write_run(
    folder: Path,
    *,
    dataset: str = "banking77",
    model: str = "minilm",
    seed: int = 0,
    origin: np.ndarray | None = None,
    rerank: np.ndarray | None = None,
    similarity: np.ndarray | None = None,
    hard: Sequence[int] = range(70, N),
    old: bool = False,
    configured: bool = True,
    predicted: bool = True,
    sizes: tuple[int, int] = (8002, 3080),
    **changed: Any,
) -> Path:
    """Write a finished run; an old one does not name its negatives, as those of the first version."""
    config = settings(seed=seed, dataset__name=dataset, model__name=model, **changed)
    correct = {
        "origin": answers(80) if origin is None else origin,
        "rerank": answers(80, [80, 81, 82]) if rerank is None else rerank,
        "similarity": answers(75) if similarity is None else similarity,
    }
    is_hard = np.isin(np.arange(N), hard)
    finetune, negatives = config["embedding"]["finetune"], config["embedding"]["negatives"]
    gain = metrics.bootstrap_gain(correct["origin"], correct["rerank"])
    found = {
        "status": "finished",
        "dataset": dataset,
        "model": model,
        "embedding": config["embedding"]["name"] + ("" if finetune else " off the shelf"),
        "embedding_finetuned": finetune,
        "negatives": negatives if finetune else None,
        "seed": seed,
        "k": config["reranker"]["k"],
        "power": config["reranker"]["power"],
        "n_train": sizes[0],
        "n_test": sizes[1],
        "n_hard": len(hard),
        "sigma2_mis": 1.5 + seed + float(correct["rerank"].sum()) / N,
        "hard_fraction": len(hard) / N,
        **{name: metrics.accuracies(one, np.ones(N, bool), is_hard) for name, one in correct.items()},
        "significance": {
            "gain": gain.gain,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "p_value": metrics.mcnemar(correct["origin"], correct["rerank"]).p_value,
        },
        "data": "da7a",
    }
    if old:
        found = {key: value for key, value in found.items() if key not in ("embedding_finetuned", "negatives")}
    lines = [
        {
            "id": f"test-{row}",
            "text": "where is my card",
            "gold": "lost",
            **{name: "lost" if one[row] else "found" for name, one in correct.items()},
            "hard": bool(is_hard[row]),
        }
        for row in range(N)
    ]
    results.write(folder, found, lines if predicted else None)
    if configured:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_failure(
    folder: Path, error: str, *, dataset: str = "banking77", model: str = "minilm", seed: int = 0, **changed: Any
) -> Path:
    """Write a failed run: what run.py says of it, and Hydra's copy of the configuration."""
    results.write(folder, {"dataset": dataset, "model": model, "seed": seed, "status": "failed", "error": error})
    config = settings(seed=seed, dataset__name=dataset, model__name=model, **changed)
    config["embedding"]["k"] = "${reranker.k}"
    config["data_dir"] = "${oc.env:LRSL_DATA_DIR,null}"
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    return folder


def write_seeds(folder: Path, seeds: Iterable[int] = range(5), **of_run: Any) -> list[Path]:
    """Write a finished run per seed, which differ a little, in folders side by side."""
    return [
        write_run(folder / f"seed{seed}", seed=seed, **({"origin": answers(80 - seed % 2)} | of_run)) for seed in seeds
    ]
