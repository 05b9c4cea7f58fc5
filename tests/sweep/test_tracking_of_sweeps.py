"""A sweep's summary in W&B, read back from its offline files."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_sweep import Jobs, results
from test_tracking import machine, pristine  # noqa: F401  (a fixture)
from wandb_offline import OfflineRun, offline_runs

from lrsl.sweep import journal, summary, tracking

WANDB = {"name": "wandb", "project": "lrsl", "entity": None, "mode": "offline", "tags": ["paper"]}


def validated(origin: float, rerank: float) -> dict[str, Any]:
    found = results(origin, rerank)
    return {**found, "validation": {"rerank": {"accuracy": rerank - 0.01}}}


def tracked(jobs: Jobs, folder: Path) -> OfflineRun:
    for line in jobs.lines:
        line["logger"] = WANDB
    folder.mkdir()
    tracking.track(jobs.lines, summary.summarise(jobs.lines), folder)
    (run,) = offline_runs(folder)
    return run


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Path:
    return tmp_path / "dataset=banking77-0a1b2c3d"


@pytest.mark.usefixtures("machine")
def test_one_configuration_stands_beside_its_seeds(jobs: Jobs, sweep_folder: Path) -> None:
    for seed, pair in enumerate([(0.90, 0.91), (0.92, 0.95)]):
        jobs.add(seed, validated(*pair), "dataset.train=https://me:hunter2@example.org/train.csv")
    run = tracked(jobs, sweep_folder)
    assert (run.project, run.group, run.job_type, run.name) == (
        "lrsl",
        "banking77/minilm",
        "summary",
        "dataset=banking77-0a1b2c3d",
    )
    assert sorted(run.tags) == ["banking77", "minilm", "paper"]
    assert run.exit_code == 0
    shown = {name: value for name, value in run.summary.items() if name.startswith("banking77/")}
    assert shown["banking77/minilm/n_seeds"] == 2
    assert shown["banking77/minilm/test/rerank_acc_mean"] == pytest.approx(0.93)
    assert shown["banking77/minilm/test/rerank_acc_std"] == pytest.approx(0.0282843, abs=1e-6)
    assert shown["banking77/minilm/test/gain_mean"] == pytest.approx(0.02)
    assert shown["banking77/minilm/val/rerank_acc_mean"] == pytest.approx(0.92)
    table = run.table("sweep_summary")
    (row,) = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (row["dataset"], row["model"], row["seeds"], row["failed"]) == ("banking77", "minilm", "0 1", 0)
    assert row["test/origin_acc_mean"] == pytest.approx(0.91)
    for file in sweep_folder.rglob("*"):
        assert file.is_dir() or b"hunter2" not in file.read_bytes()


@pytest.mark.usefixtures("machine")
def test_models_and_settings_have_names_of_their_own(jobs: Jobs, sweep_folder: Path) -> None:
    for power in (1, 2):
        jobs.add(0, validated(0.9, 0.9), f"reranker.power={power}", digest=str(power))
    jobs.add(0, validated(0.8, 0.8), "model=bert", model="bert", digest="b")
    jobs.add(0, None, "model=roberta", model="roberta", digest="r")
    run = tracked(jobs, sweep_folder)
    assert run.group == "banking77"
    assert {name.removesuffix("/test/rerank_acc_mean") for name in run.summary if name.endswith("rerank_acc_mean")} >= {
        "banking77/minilm/reranker_power_1",
        "banking77/minilm/reranker_power_2",
        "banking77/bert",
    }
    assert not [name for name in run.summary if "roberta" in name]
    assert len(run.table("sweep_summary")["data"]) == 3


def test_nothing_is_logged_without_a_new_run_in_wandb(jobs: Jobs, sweep_folder: Path) -> None:
    sweep_folder.mkdir()
    jobs.add(0, results(0.9, 0.9))
    tracking.track(jobs.lines, summary.summarise(jobs.lines), sweep_folder)
    jobs.lines[0]["logger"] = {**WANDB, "name": "csv"}
    tracking.track(jobs.lines, summary.summarise(jobs.lines), sweep_folder)
    jobs.add(1, None)
    tracking.track([{**jobs.lines[1], "logger": WANDB}], summary.summarise(jobs.lines[1:]), sweep_folder)
    assert list(sweep_folder.iterdir()) == []


def test_a_failing_wandb_breaks_no_sweep(
    jobs: Jobs, sweep_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.add(0, results(0.9, 0.9))
    sweep_folder.mkdir()
    line = {**jobs.lines[0], "job": 0, "logger": {**WANDB, "mode": "no such mode"}}
    (sweep_folder / journal.RUNS).write_text(json.dumps(line) + "\n", encoding="utf-8")
    monkeypatch.setenv(journal.FOLDER_VARIABLE, str(sweep_folder))
    assert journal.conclude(tracking.track) == 0
    assert "The summary is not logged: logger.mode=no such mode is unknown" in capsys.readouterr().err
    assert (sweep_folder / summary.MARKDOWN).is_file()
