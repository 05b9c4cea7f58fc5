"""How many threads compute decides the last digits: they are part of the keys, and the same for every launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lrsl.config.schema import TrainerConfig
from lrsl.run.stages.made_of import conditions

ROOT = Path(__file__).parents[2]


def test_the_number_of_threads_is_part_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = SimpleNamespace(config=SimpleNamespace(trainer=TrainerConfig(accelerator="cpu")))
    keys = []
    for number in (1, 1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        keys.append(conditions(context))
    assert keys[0] == keys[1] != keys[2]


def swept(tiny_corpus: Path, tiny_bert: Path, folder: Path, *more: str) -> dict[str, Any]:
    """Return what the runs of two seeds came to, by the names of their folders, wall times and commit aside."""
    folder.mkdir()
    command = [
        *(sys.executable, str(ROOT / "run.py"), "dataset=custom", "dataset.name=tiny", "logger=csv", "trainer=cpu"),
        *(f"dataset.train={tiny_corpus / 'train.csv'}", f"dataset.test={tiny_corpus / 'test.csv'}", "model.epochs=2"),
        *(f"model.pretrained={tiny_bert}", f"embedding.pretrained={tiny_bert}", "embedding.epochs=1"),
        *("trainer.progress=false", "seed=0,1", "-m", *more),
    ]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for path in folder.glob("multirun_outputs/tiny/*/*/seed*"):
        content = json.loads((path / "results.json").read_text(encoding="utf-8"))
        assert content["threads"] == 2
        unlike = {key: content.pop(key) for key in ("seconds", "commit")}
        assert unlike["seconds"]
        found[path.name] = (content, (path / "predictions.jsonl").read_text(encoding="utf-8"))
    assert found.keys() == {"seed0", "seed1"}
    return found


def test_launchers_come_to_the_same_with_as_many_threads(tiny_corpus: Path, tiny_bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    one = swept(tiny_corpus, tiny_bert, tmp_path / "basic")
    assert one == swept(tiny_corpus, tiny_bert, tmp_path / "joblib", "launcher=joblib")
