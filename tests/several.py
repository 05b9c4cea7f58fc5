"""What tests of runs that several processes compute have in common: what is typed, and who is still there."""

import json
import os
from pathlib import Path
from typing import Any

import tiny

import run

ROOT = Path(run.__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
FOLLOWER = "lrsl.commands.follow"


def write_corpus(folder: Path) -> Path:
    """Write rows that batches and processes do not divide: 192, 48 and 300 of them, in batches of 5, 7 and 128."""
    tiny.write_corpus(folder)
    tiny.write_csv(folder / "test.csv", 300, seed=2)
    return folder


def words(corpus: Path, pretrained: Path) -> list[str]:
    """Return what is typed after `lrsl` for a run of two epochs each."""
    return [
        *("run", "dataset=custom", "dataset.name=tiny", "logger=csv"),
        *(f"dataset.train={corpus}/train.csv", f"dataset.test={corpus}/test.csv"),
        *(f"model.pretrained={pretrained}", "model.name=tiny", "model.epochs=2", "model.batch_size=5"),
        *("model.lr=3e-3", "model.head_lr=1e-2", "model.pooling=mean"),
        *(f"embedding.pretrained={pretrained}", "embedding.name=tiny", "embedding.epochs=2", "embedding.batch_size=7"),
        *("embedding.lr=3e-3", "trainer=cpu", "trainer.precision=32-true", "hydra.run.dir=out", "cache_dir=store"),
    ]


def followers(folder: Path) -> list[int]:
    """Return the processes that runs in a folder have started and that are still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if FOLLOWER in (process / "cmdline").read_text() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def results(folder: Path) -> dict[str, Any]:
    """Return the results of a run."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found
