"""The W&B sweep file: its commands are what the agent makes of it, its metric is one that runs log on validation."""

import os
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from typed import Typed
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb_offline import offline_runs

from lrsl.config import composition, keys

ROOT = Path(composition.__file__).parents[2]
FILE = ROOT / "experiments" / "tuning.yaml"


@pytest.fixture(scope="module")
def tuning() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def arguments(tuning: dict[str, Any]) -> list[str]:
    """What the agent gives run.py in a trial with the lowest or first of all values."""
    first = {key: {"value": of.get("min", (of.get("values") or [None])[0])} for key, of in tuning["parameters"].items()}
    made = create_sweep_command_args({"args": first})
    words: list[str] = []
    for word in create_sweep_command(tuning["command"]):
        macro = word[2:-1] if word.startswith("${") and word.endswith("}") else None
        words += made.get(macro, []) if macro else [word]
    return words


def test_every_parameter_is_a_key_and_every_value_allowed(tuning: dict[str, Any]) -> None:
    assert set(tuning["parameters"]) <= set(keys.known_keys())
    assert tuning["method"] == "bayes"


def test_the_objective_is_of_validation(tuning: dict[str, Any]) -> None:
    assert tuning["metric"] == {"name": "val/rerank_acc", "goal": "maximize"}


def test_a_trial_reports_the_objective_to_its_agent(tuning: dict[str, Any], tmp_path: Path, warm: Typed) -> None:
    corpus, bert = tiny.write_corpus(tmp_path), tiny.write_bert(tmp_path / "bert")
    small = [
        "dataset=custom",
        f"dataset.train={corpus / 'train.csv'}",
        f"dataset.test={corpus / 'test.csv'}",
        f"model.pretrained={bert}",
        f"embedding.pretrained={bert}",
        *("model.epochs=1", "embedding.epochs=1", "trainer=cpu", "trainer.progress=false", "logger.mode=offline"),
    ]
    agents = {"WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "awaited", "HOME": str(tmp_path / "home")}
    words = [word for word in arguments(tuning) if not word.startswith(("dataset=", "model="))]
    environment = {**os.environ, **agents, "PYTHONPATH": str(ROOT)}
    done = warm(str(ROOT / "run.py"), *words, *small, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    (run,) = offline_runs(tmp_path / "outputs" / "tuning" / "awaited")
    assert run.id == "awaited"
    assert 0 < run.summary[tuning["metric"]["name"]] <= 1
    assert run.config["reranker"]["k"] == 2
    assert run.config["model"]["lr"] == 2e-5
