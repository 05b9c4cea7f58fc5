"""A sweep's summary: its numbers, its rows, and what it says of failed runs."""

import csv
import io
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from rich.console import Console

from lrsl.sweep import journal, summary
from lrsl.sweep.jobs import environment


def results(origin: float, rerank: float, hard: float | None = 0.5) -> dict[str, Any]:
    def system(accuracy: float) -> dict[str, float | None]:
        return {
            "accuracy": accuracy,
            "accuracy_hard": None if hard is None else hard * accuracy,
            "accuracy_easy": accuracy,
        }

    return {
        "status": "finished",
        "hard_fraction": 0.25 if hard is not None else 0.0,
        "origin": system(origin),
        "rerank": system(rerank),
        "similarity": system(0.9),
    }


class Jobs:
    """Lines of runs.jsonl, with the results they point to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []

    def add(
        self, seed: int, found: dict[str, Any] | None, *overrides: str, model: str = "minilm", digest: str = "a"
    ) -> None:
        folder = self.folder / model / digest / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        if found is not None:
            (folder / "results.json").write_text(json.dumps(found))
        self.lines.append(
            {
                "dataset": "banking77",
                "model": model,
                "configuration": digest,
                "seed": seed,
                "folder": str(folder),
                "overrides": [*overrides, f"seed={seed}"],
                "status": "failed" if found is None else "finished",
                "error": "no such luck" if found is None else None,
            }
        )


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def printed(summaries: list[summary.Summary]) -> str:
    console = Console(file=io.StringIO(), width=200)
    summary.show(summaries, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def saved(summaries: list[summary.Summary], folder: Path) -> tuple[str, list[dict[str, str]]]:
    summary.save(summaries, folder)
    with (folder / summary.CSV).open(encoding="utf-8") as file:
        return (folder / summary.MARKDOWN).read_text(encoding="utf-8"), list(csv.DictReader(file))


def test_mean_and_standard_deviation_over_seeds(jobs: Jobs, tmp_path: Path) -> None:
    origin, rerank = [0.90, 0.92, 0.97], [0.91, 0.95, 0.96]
    for seed, pair in enumerate(zip(origin, rerank, strict=True)):
        jobs.add(seed, results(*pair))
    summaries = summary.summarise(jobs.lines)
    assert [each.seeds for each in summaries] == [[0, 1, 2]]
    markdown, (line,) = saved(summaries, tmp_path)
    gain = [after - before for before, after in zip(origin, rerank, strict=True)]
    assert (line["n"], line["seeds"], line["failed"]) == ("3", "0 1 2", "0")
    for name, values in {"origin": origin, "rerank": rerank, "gain": gain}.items():
        assert float(line[f"{name}_mean"]) == pytest.approx(mean(values))
        assert float(line[f"{name}_std"]) == pytest.approx(stdev(values))
    assert float(line["origin_hard_mean"]) == pytest.approx(mean(origin) / 2)
    for text in (markdown, printed(summaries)):
        assert "93.00 ± 3.61" in text
        assert "94.00 ± 2.65" in text
        assert "+1.00 ± 2.00" in text
        assert "25.00 ± 0.00" in text
        assert "90.00 ± 0.00" in text


def test_one_seed_has_no_spread_and_no_hard_sample_no_accuracy(jobs: Jobs, tmp_path: Path) -> None:
    jobs.add(0, results(0.9, 0.9, hard=None))
    markdown, (line,) = saved(summary.summarise(jobs.lines), tmp_path)
    assert "±" not in markdown.splitlines()[-1]
    assert "| 90.00 | 90.00 | +0.00 | 0.00 | – | – | 90.00 |" in markdown
    assert line["origin_hard_mean"] == ""


def test_models_are_rows_in_the_order_of_the_sweep(jobs: Jobs) -> None:
    for model in ("roberta", "bert"):
        for seed in (0, 1):
            jobs.add(seed, results(0.9, 0.9), f"model={model}", model=model, digest=model)
    summaries = summary.summarise(jobs.lines)
    assert [(each.model, each.label, each.seeds) for each in summaries] == [
        ("roberta", "", [0, 1]),
        ("bert", "", [0, 1]),
    ]
    assert "configuration" not in printed(summaries)


def test_configurations_that_differ_in_more_than_the_seed_are_rows_of_their_own(jobs: Jobs) -> None:
    for power in (1, 2):
        for seed in (0, 1):
            jobs.add(seed, results(0.9, 0.9), "model.lr=1e-3", f"reranker.power={power}", digest=str(power))
    summaries = summary.summarise(jobs.lines)
    assert [(each.label, each.seeds) for each in summaries] == [
        ("reranker.power=1", [0, 1]),
        ("reranker.power=2", [0, 1]),
    ]
    assert "reranker.power=2" in printed(summaries)


def test_the_same_run_twice_counts_once(jobs: Jobs) -> None:
    for _ in range(2):
        jobs.add(0, results(0.9, 0.9))
    assert summary.summarise(jobs.lines)[0].seeds == [0]


def test_failed_runs_are_named_and_not_averaged(jobs: Jobs, tmp_path: Path) -> None:
    jobs.add(0, results(0.9, 0.9))
    jobs.add(1, None)
    jobs.add(0, None, "model=bert", model="bert", digest="b")
    jobs.lines.append({"overrides": ["model=nope"], "status": "failed", "error": "model=nope is unknown"})
    summaries = summary.summarise(jobs.lines)
    markdown, lines = saved(summaries, tmp_path)
    for text in (markdown, printed(summaries)):
        assert "failed: seed=1: no such luck" in text
        assert "failed: model=bert seed=0: no such luck" in text
        assert "failed: model=nope: model=nope is unknown" in text
    assert [(line["model"], line["n"], line["failed"]) for line in lines] == [
        ("minilm", "1", "1"),
        ("bert", "0", "1"),
        ("", "0", "1"),
    ]


def test_a_failed_run_does_not_count_for_an_older_results_file(jobs: Jobs) -> None:
    jobs.add(0, results(0.9, 0.9))
    jobs.lines[0] |= {"status": "failed", "error": "no such luck"}
    assert summary.summarise(jobs.lines)[0].seeds == []


def test_results_that_were_lost_are_a_failure(jobs: Jobs) -> None:
    jobs.add(0, results(0.9, 0.9))
    (Path(jobs.lines[0]["folder"]) / "results.json").write_text("{")
    assert summary.summarise(jobs.lines)[0].failed == ["seed=0: its results.json is missing or damaged"]


def test_outside_a_sweep_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journal.FOLDER_VARIABLE, raising=False)
    journal.record({"status": "failed"})
    assert not journal.under_way()
    assert journal.conclude() == 0


def test_the_summary_is_in_the_order_of_the_jobs_not_of_their_ends(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(journal.FOLDER_VARIABLE, str(tmp_path))
    for number, model in enumerate(("roberta", "bert", "minilm")):
        jobs.add(0, results(0.9, 0.9), f"model={model}", model=model, digest=model)
        jobs.lines[-1]["job"] = number
    journal.lose(["model=nope", "seed=0"], "it was\u2028killed", 3)
    for line in reversed(jobs.lines):
        journal.record(line)
    assert capsys.readouterr().err == "model=nope seed=0 failed: it was\u2028killed\n"
    assert journal.conclude() == 1
    assert not journal.under_way()
    with (tmp_path / summary.CSV).open(encoding="utf-8") as file:
        assert [line["model"] for line in csv.DictReader(file)] == ["roberta", "bert", "minilm", ""]
    assert "- failed: model=nope seed=0: it was\u2028killed" in (tmp_path / summary.MARKDOWN).read_text(
        encoding="utf-8"
    )


def test_a_job_in_a_process_of_its_own_belongs_to_the_sweep_but_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment(threads=1).items():
        monkeypatch.setenv(name, value)
    journal.record({"job": 0, "status": "finished"})
    assert journal.under_way()
    assert list(tmp_path.iterdir()) == []
