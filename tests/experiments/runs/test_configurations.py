"""Runs that differ in the seed alone belong together, wherever they lie; those that differ in more do not."""

import shutil
from pathlib import Path

import pytest
from fabricated_results import answers, write_failure, write_run, write_seeds

from experiments.runs.collect import collect
from experiments.runs.configurations import Configuration, configurations


def found(*folders: Path) -> list[Configuration]:
    return configurations(collect(folders))


def test_the_seeds_of_a_configuration_come_together_from_all_folders(tmp_path: Path) -> None:
    write_seeds(tmp_path / "multirun_outputs" / "banking77" / "minilm" / "abc", [3, 0])
    write_seeds(tmp_path / "outputs" / "banking77" / "minilm" / "abc", [1], data_dir="/elsewhere", rerun=True)
    (one,) = found(tmp_path / "multirun_outputs", tmp_path / "outputs")
    assert (one.dataset, one.model, one.variant, one.label) == ("banking77", "minilm", "full", "")
    assert list(one.runs) == [0, 1, 3]
    assert one.embedding == "minilm, all"
    assert one.values("origin") == [0.8, 0.79, 0.79]
    assert one.differences("origin", "rerank") == pytest.approx([0.03, 0.04, 0.04])


def test_the_variants_are_configurations_of_their_own_and_need_no_label(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 1])
    write_seeds(tmp_path / "b", [0, 1], embedding__negatives="batch")
    write_seeds(tmp_path / "c", [0, 1], embedding__finetune=False)
    full, shelf, batch = found(tmp_path)
    assert [(one.variant, one.label) for one in (full, batch, shelf)] == [
        ("full", ""),
        ("without_triplets", ""),
        ("without_finetuning", ""),
    ]
    assert shelf.embedding == "minilm, off the shelf"
    assert batch.ablates(full)
    assert shelf.ablates(full)


def test_configurations_that_differ_are_never_averaged(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 1], reranker__power=1.0)
    write_seeds(tmp_path / "b", [0, 1], reranker__power=2.0)
    write_seeds(tmp_path / "c", [0, 1], embedding__finetune=False, reranker__power=2.0)
    write_seeds(tmp_path / "d", [0, 1], dataset="cmcc34")
    one, two, shelf, other = found(tmp_path)
    assert [each.label for each in (one, two, other)] == [
        "reranker.power=1.0",
        "reranker.power=2.0",
        "reranker.power=1.0",
    ]
    assert shelf.ablates(two)
    assert not shelf.ablates(one)


def test_what_differs_in_much_is_called_by_its_folder(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0])
    write_seeds(tmp_path / "b", [0], model__lr=2e-5, model__epochs=30, embedding__lr=2e-5)
    one, two = found(tmp_path)
    assert {one.label, two.label} == {"a", "b"}
    assert two.telling.keys() == {"model.lr", "model.epochs", "embedding.lr"}


def test_runs_on_other_data_are_kept_apart(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 1])
    path = tmp_path / "a" / "seed1" / "results.json"
    path.write_text(path.read_text().replace("da7a", "0ther"))
    assert [list(one.runs) for one in found(tmp_path)] == [[0], [1]]


def test_a_recorded_copy_counts_once_and_its_other_seeds_belong_to_the_original(tmp_path: Path) -> None:
    originals = write_seeds(tmp_path / "outputs" / "abc", [0, 1, 2])
    for folder in originals:
        copy = tmp_path / "recorded" / "mine" / folder.name
        copy.mkdir(parents=True)
        shutil.copy(folder / "results.json", copy)
    shutil.rmtree(originals[2])
    (one,) = found(tmp_path / "recorded", tmp_path / "outputs")
    assert list(one.runs) == [0, 1, 2]
    assert [(run.folder / "predictions.jsonl").is_file() for run in one.runs.values()] == [True, True, False]
    assert one.settings["model.lr"] == 1e-4


def test_recorded_runs_without_a_configuration_belong_together_by_their_folder(tmp_path: Path) -> None:
    write_seeds(tmp_path / "one", [0, 1], configured=False)
    write_seeds(tmp_path / "two", [0, 1], configured=False, rerank=answers(90))
    one, two = found(tmp_path)
    assert (list(one.runs), list(two.runs)) == ([0, 1], [0, 1])
    assert [each.label for each in (one, two)] == ["one", "two"]


def test_failed_runs_stand_beside_the_finished_ones(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 2])
    write_failure(tmp_path / "a" / "seed1", "unlucky", seed=1)
    write_failure(tmp_path / "b" / "seed0", "unlucky", seed=0)
    write_failure(tmp_path / "b" / "seed7", "unlucky, too", seed=7)
    (one,) = found(tmp_path)
    assert list(one.runs) == [0, 2]
    assert {seed: run.error for seed, run in one.failed.items()} == {1: "unlucky", 7: "unlucky, too"}


def test_folders_that_are_not_named_for_a_seed_are_told_by_their_configuration(tmp_path: Path) -> None:
    write_run(tmp_path / "here", seed=0)
    write_run(tmp_path / "there", seed=1)
    write_run(tmp_path / "elsewhere", seed=1, reranker__k=5)
    assert sorted(list(one.runs) for one in found(tmp_path)) == [[0, 1], [1]]
