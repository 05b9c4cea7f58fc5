"""The command line as typed, down to the files it leaves behind."""

import csv
import json
import re
from pathlib import Path

import pytest
from tiny import LABELS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def typed(tiny_corpus, tiny_bert, tmp_path_factory, warm):
    """Return a function that runs `python run.py` with more arguments, in one folder, and returns how it ended."""
    folder = tmp_path_factory.mktemp("work")
    arguments = [
        "dataset=custom",
        "dataset.name=tiny",
        f"dataset.train={tiny_corpus / 'train.csv'}",
        f"dataset.test={tiny_corpus / 'test.csv'}",
        f"model.pretrained={tiny_bert}",
        "model.epochs=1",
        f"embedding.pretrained={tiny_bert}",
        "embedding.epochs=1",
        "trainer=cpu",
        "trainer.progress=false",
        "logger=csv",
    ]

    def run(*more):
        return warm(str(ROOT / "run.py"), *arguments, *more, cwd=folder)

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def sweep(typed):
    """Two seeds."""
    return typed("seed=0,1", "-m")


@pytest.fixture(scope="module")
def folders(sweep, typed):
    """The folder of each seed's run."""
    assert sweep.returncode == 0, sweep.stdout + sweep.stderr
    found = sorted((typed.folder / "multirun_outputs" / "tiny" / "minilm").glob("*/seed*"))
    assert [path.name for path in found] == ["seed0", "seed1"]
    assert found[0].parent == found[1].parent
    return found


def written(folders):
    """Return when each file was written, Hydra's own notes aside."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in files}


def summary_of(typed):
    """Return the text of the latest sweep's `summary.md` and the rows of its `summary.csv`."""
    latest = max((typed.folder / "multirun_outputs" / "sweeps").iterdir(), key=lambda path: path.stat().st_mtime)
    with (latest / "summary.csv").open(encoding="utf-8", newline="") as file:
        return (latest / "summary.md").read_text(encoding="utf-8"), list(csv.DictReader(file))


def test_a_sweep_leaves_results_and_predictions_of_each_seed(folders):
    for seed, folder in enumerate(folders):
        found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        expected = {"dataset": "tiny", "model": "minilm", "seed": seed, "k": 3, "n_test": 60, "status": "finished"}
        assert expected.items() <= found.items()
        assert found["sigma2_mis"] >= 0
        assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{10,}\+?", found["commit"])
        assert re.search(r"\d CPU core", found["machine"])
        assert 0 <= found["hard_fraction"] <= 1
        for system in ("origin", "rerank", "similarity"):
            assert set(found[system]) == {"accuracy", "accuracy_hard", "accuracy_easy"}
            assert all(value is None or 0 <= value <= 1 for value in found[system].values())
        lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
        assert len(lines) == len({line["id"] for line in lines}) == 60
        for line in lines:
            assert {"id", "gold", "origin", "rerank", "hard", "top_k_before", "top_k_after"} <= set(line)
            assert {line["gold"], line["origin"], line["rerank"]} <= set(LABELS)


def test_the_end_of_a_sweep_is_a_table_of_mean_and_deviation(folders, sweep, typed):
    accuracies = [json.loads((path / "results.json").read_text())["origin"]["accuracy"] for path in folders]
    mean = f"{100 * sum(accuracies) / 2:.2f} ± "
    table, (row,) = summary_of(typed)
    assert mean in table
    assert mean in sweep.stdout
    assert (row["dataset"], row["model"], row["n"], row["seeds"], row["failed"]) == ("tiny", "minilm", "2", "0 1", "0")
    assert float(row["origin_mean"]) == pytest.approx(sum(accuracies) / 2)


def test_the_end_of_a_sweep_is_a_report_beside_the_summary(folders, sweep, typed):
    (told,) = [line for line in sweep.stdout.splitlines() if "report" in line]
    path = Path(told.removeprefix("report: "))
    assert (path.parent.parent, path.name) == (typed.folder / "multirun_outputs" / "sweeps", "report.html")
    assert (path.parent / "summary.md").is_file()
    page = path.read_text(encoding="utf-8")
    for expected in ("<title>", "tiny", "minilm", "seed=0,1 -m", "</html>"):
        assert expected in page
    assert "matplotlib" not in sweep.stdout + sweep.stderr  # it is drawn in silence


def test_what_is_finished_is_taken_and_what_fails_does_not_stop_the_rest(folders, sweep, typed):
    before = written(folders)
    again = typed("seed=0,1", "-m")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already finished") == 2
    assert summary_of(typed)[1][0]["n"] == "2"

    failing = typed("reranker.k=9,3", "seed=0", "-m")
    assert failing.returncode == 1
    assert "reranker.k=9 is too large; tiny has 4 labels" in failing.stderr
    assert "Traceback" not in failing.stderr
    assert failing.stdout.count("already finished") == 1  # the job after the failing one is the run from above
    table, rows = summary_of(typed)
    assert "reranker.k=9 seed=0: reranker.k=9 is too large" in table
    assert [(row["n"], row["failed"]) for row in rows] == [("0", "1"), ("1", "0")]
    failed = [json.loads(path.read_text()) for path in typed.folder.rglob("results.json")]
    assert [found["status"] for found in failed].count("failed") == 1

    assert written(folders) == before  # nothing was trained again
