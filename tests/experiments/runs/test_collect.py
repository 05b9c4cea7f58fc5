"""Results of any number of folders become one tidy table; what is damaged is named and left out."""

import csv
import io
import json
import logging
from pathlib import Path

import pytest
from fabricated_results import write_failure, write_run, write_seeds

from experiments.runs import collect


def test_runs_of_several_folders_are_collected_once_each(tmp_path: Path) -> None:
    write_seeds(tmp_path / "one" / "a", [0, 1])
    write_run(tmp_path / "two" / "seed5", seed=5, model="bert")
    runs = collect.collect([tmp_path / "one", tmp_path / "two", tmp_path])
    assert [(run.model, run.seed, run.finished) for run in runs] == [
        *(("minilm", 0, True), ("minilm", 1, True), ("bert", 5, True))
    ]


def test_the_table_is_tidy(tmp_path: Path) -> None:
    write_run(tmp_path / "full" / "seed3", seed=3)
    write_run(tmp_path / "batch" / "seed0", embedding__negatives="batch", hard=[])
    write_run(tmp_path / "shelf" / "seed0", embedding__finetune=False)
    write_failure(tmp_path / "wrong" / "seed0", "data.csv:13: the label is empty", embedding__negatives="batch")
    stream = io.StringIO()
    collect.write(collect.collect([tmp_path]), stream)
    batch, full, shelf, wrong = csv.DictReader(io.StringIO(stream.getvalue()))
    assert list(full) == list(collect.COLUMNS)
    assert (full["dataset"], full["model"], full["seed"], full["n_test"]) == ("banking77", "minilm", "3", "3080")
    assert [float(full[name]) for name in ("origin_accuracy", "rerank_accuracy", "similarity_accuracy")] == [
        *(0.8, 0.83, 0.75)
    ]
    assert float(full["origin_accuracy_hard"]) == pytest.approx(10 / 30)
    assert float(full["gain"]) == pytest.approx(0.03)
    assert float(full["p_value"]) == pytest.approx(0.25)
    variants = [
        (row["status"], row["variant"], row["embedding"], row["negatives"]) for row in (full, batch, shelf, wrong)
    ]
    assert variants == [
        ("finished", "full", "minilm", "all"),
        ("finished", "without_triplets", "minilm", "batch"),
        ("finished", "without_finetuning", "minilm", ""),
        ("failed", "without_triplets", "minilm", "batch"),
    ]
    assert batch["origin_accuracy_hard"] == ""
    assert (wrong["error"], wrong["origin_accuracy"]) == ("data.csv:13: the label is empty", "")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"rerank"', '"reranked"'),
        lambda text: text.replace('"seed"', '"sed"'),
        lambda text: text.replace('"accuracy_hard"', '"hard"'),
    ],
)
def test_a_damaged_file_is_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage) -> None:
    first, second = write_seeds(tmp_path, [0, 1])
    path = second / "results.json"
    path.write_text(damage(path.read_text()))
    with caplog.at_level(logging.WARNING):
        assert [run.folder for run in collect.collect([tmp_path])] == [first]
    (record,) = caplog.records
    assert f"{path} is damaged and left out (" in record.getMessage()
    assert "\n" not in record.getMessage()


def variant(folder: Path) -> tuple[str | None, object]:
    (run,) = collect.collect([folder])
    return run.variant, run.settings.get("embedding.negatives")


@pytest.mark.parametrize("configured", [True, False])
def test_results_of_the_first_version_are_told_apart_by_their_configuration(tmp_path: Path, configured: bool) -> None:
    for name, changed in {
        "full": {},
        "batch": {"embedding__negatives": "batch"},
        "shelf": {"embedding__finetune": False},
    }.items():
        write_run(tmp_path / name / "seed0", old=True, configured=configured, **changed)
    assert variant(tmp_path / "full") == ("full", "all" if configured else None)
    assert variant(tmp_path / "batch") == (("without_triplets", "batch") if configured else ("full", None))
    assert variant(tmp_path / "shelf")[0] == "without_finetuning"


def test_a_failed_run_is_told_by_hydras_copy_and_without_it_is_of_unknown_kind(tmp_path: Path) -> None:
    folder = write_failure(tmp_path / "seed0", "unlucky", embedding__finetune=False)
    (run,) = collect.collect([tmp_path])
    assert (run.error, run.variant, run.settings["embedding.k"]) == ("unlucky", "without_finetuning", 3)
    for damaged in ("embedding: [\n", "- embedding\n", "embedding: ${nothing.there}\n"):
        (folder / ".hydra" / "config.yaml").write_text(damaged)
        assert variant(tmp_path) == (None, None)


def test_settings_leave_out_the_seed_and_what_changes_no_result(tmp_path: Path) -> None:
    write_run(tmp_path / "seed0")
    (run,) = collect.collect([tmp_path])
    assert run.settings["model.lr"] == 1e-4
    assert not {"seed", "data_dir", "rerun", "cache", "trainer.progress", "dataset.licence"} & run.settings.keys()
    assert not [key for key in run.settings if key.startswith("logger")]


def test_a_configuration_of_an_earlier_version_is_read_under_todays_names(tmp_path: Path) -> None:
    path = write_run(tmp_path / "seed0") / "config.json"
    earlier = json.loads(path.read_text())
    earlier["model"] |= {"lora_rank": 4, "max_pairs": 25, "group_loss_weight": 0.5, "pooling": "cls"}
    path.write_text(json.dumps(earlier))
    (run,) = collect.collect([tmp_path])
    assert (run.settings["model.lora.rank"], run.settings["model.aphan.pairs"]) == (4, 25)
    assert run.settings["model.hldic.group_loss_weight"] == 0.5
    assert not {"model.lora_rank", "model.max_pairs", "model.group_loss_weight"} & run.settings.keys()

    today = earlier | {"model": {**earlier["model"], "pooling": None}}  # which stands for the same
    path.write_text(json.dumps(today))
    assert collect.collect([tmp_path])[0].settings == run.settings


def test_the_command_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_seeds(tmp_path / "runs", [0, 1])
    assert collect.main([str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    assert len(list(csv.DictReader(io.StringIO(printed)))) == 2
    assert collect.main([str(tmp_path / "runs"), "--out", str(tmp_path / "new" / "runs.csv")]) == 0
    assert (tmp_path / "new" / "runs.csv").read_text() == printed
    assert "2 runs" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert collect.main([str(tmp_path / "nowhere")]) == 1
    assert (
        capsys.readouterr().err == f"{tmp_path / 'nowhere'} is not a folder; name one that holds the results of runs\n"
    )


def test_the_default_is_where_runs_are_left_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (recorded,) = collect.given_or_default([])
    assert recorded.resolve() == Path(collect.__file__).parents[1] / "results"
    for name in ("outputs", "multirun_outputs"):
        write_run(tmp_path / name / "seed0")
    assert collect.given_or_default([])[:2] == [Path("multirun_outputs"), Path("outputs")]


def test_every_recorded_run_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Path(collect.__file__).parents[1] / "results"
    runs = collect.collect([recorded])
    assert not caplog.records
    assert len(runs) == len(list(recorded.rglob("results.json"))) > 0
    assert all(json.dumps(row) for row in collect.table(runs))
