"""What AutoIntent's own environment runs, which has nothing of ours: rows from standard input, answers into a file.

python autointent_alone.py FILE < TASK
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("autointent", "torch", "transformers", "sentence-transformers", "scikit-learn")


def measure(task: dict[str, Any], folder: str) -> dict[str, Any]:
    """Train on train by the preset, let val choose, and answer test."""
    library, utilities = import_module("autointent"), import_module("autointent.utils")
    settings = utilities.load_preset(task["preset"]) | {
        "embedder_config": {
            "model_name": task["encoder"],
            "device": task["device"],
            "tokenizer_config": {"max_length": task["max_length"]},
        },
        "logging_config": {"project_dir": folder},
        "seed": 1 + task["seed"],  # it takes no zero
    }
    os.environ["XDG_CACHE_HOME"] = folder  # where it keeps vectors
    start = time.perf_counter()
    pipeline = library.Pipeline.from_optimization_config(library.OptimizationConfig(**settings))
    pipeline.fit(library.Dataset.from_dict({name: task[name] for name in ("train", "validation")}))
    trained = time.perf_counter()
    answered = pipeline.predict(task["texts"])
    return {
        "labels": [-1 if label is None else int(label) for label in answered],
        "train_seconds": trained - start,
        "predict_seconds": time.perf_counter() - trained,
        "versions": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        told = measure(json.load(sys.stdin), scratch)
    Path(sys.argv[1]).write_text(json.dumps(told), encoding="utf-8")
