"""The W&B report and workspace as W&B gets them, without W&B."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from test_tracking import machine  # noqa: F401  (a fixture)

from experiments import wandb_report
from lrsl.sweep import summary
from lrsl.sweep.tracking import JOB_TYPE, TABLE

pytest.importorskip("wandb_workspaces")


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What is sent to W&B."""
    sent = wandb_report.report("us", "lrsl")._to_model()
    assert (sent.project.entity_name, sent.project.name) == ("us", "lrsl")
    return json.loads(sent.spec.model_dump_json(by_alias=True, exclude_none=True))


def grids(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in report["blocks"] if block["type"] == "panel-grid"]


def test_runs_are_grouped_by_data_set_and_model(report: dict[str, Any]) -> None:
    (runs,) = grids(report)[0]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["dataset.value.name", "model.value.name"]
    assert "summary" in json.dumps(runs["filters"])


def test_the_names_are_those_that_runs_log(report: dict[str, Any]) -> None:
    text = json.dumps(report)
    for name in summary.METRICS.values():
        if name not in ("val/rerank_acc", "test/similarity_acc"):
            assert f"summary_metrics.{name}" in text or f"summary:{name}" in text
    assert TABLE in text
    assert "hard_samples" in text
    assert f"'{JOB_TYPE}'" in wandb_report.SUMMARIES


def test_the_workspace_shows_the_same() -> None:
    sent = json.dumps(wandb_report.workspace("us", "lrsl")._to_model().model_dump(by_alias=True, mode="json"))
    for name in ("test/rerank_acc", "embedding/val_acc", *wandb_report.FIGURES):
        assert name in sent


@pytest.mark.usefixtures("machine")
def test_without_a_key_one_sentence_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert wandb_report.main(["--project", "lrsl"]) == 1
    assert capsys.readouterr().err.strip().endswith("there is no valid API key; wandb login stores one.")


@pytest.mark.usefixtures("machine")
def test_without_the_package_one_sentence_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert wandb_report.main([]) == 1
    assert "pip install 'lrsl[wandb-report]'" in capsys.readouterr().err


@pytest.mark.usefixtures("machine")
def test_the_figures_are_named_as_they_are_drawn() -> None:
    drawn = "".join(path.read_text(encoding="utf-8") for path in Path("experiments/figures").glob("*.py"))
    assert all(name.removeprefix("figures/") in drawn for name in wandb_report.FIGURES)
