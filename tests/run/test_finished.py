import gzip
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import pytest
import tiny

from lrsl.config.schema import Config
from lrsl.data import load_corpus
from lrsl.run import finished, results


@pytest.fixture
def config(tiny_corpus: Path, tiny_bert: Path) -> Config:
    return tiny.config(tiny_corpus, tiny_bert)


@pytest.fixture
def measured(config: Config) -> dict[str, Any]:
    """As much of a run's results as tells whether it has finished."""
    fingerprint = load_corpus(config.dataset, config.data_dir).fingerprint()
    return {"status": "finished", "data": fingerprint, "versions": {"lrsl": version("lrsl"), "torch": "1.0"}}


def finish(config: Config, folder: Path, measured: dict[str, Any]) -> None:
    results.write(folder, measured)
    finished.record_finish(asdict(config), folder)


def known(config: Config, folder: Path) -> dict[str, Any] | None:
    return finished.results_of(config, asdict(config), folder)


def test_a_finished_run_is_known_until_its_data_change(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    tiny.write_corpus(corpus)
    moved = replace(config.dataset, train=str(corpus / "train.csv"), test=str(corpus / "test.csv"))
    config = replace(config, dataset=moved)
    finish(config, tmp_path, measured)
    assert known(config, tmp_path) == measured

    with (corpus / "test.csv").open("a", encoding="utf-8") as file:
        file.write("one card1 more,card\n")
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("kind", ["x.parquet", "saved", "x.csv.gz"])
def test_changed_contents_are_seen_whatever_holds_them(
    config: Config, measured: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    def write(seed: int) -> None:
        texts, labels = tiny.samples(240, seed)
        data = datasets.Dataset.from_dict({"text": texts, "label": [tiny.LABELS[label] for label in labels]})
        if kind == "saved":
            data.save_to_disk(str(tmp_path / kind))
        elif kind == "x.parquet":
            data.to_parquet(str(tmp_path / kind))
        else:
            plain = tiny.write_csv(tmp_path / "x.csv", 240, seed)
            (tmp_path / kind).write_bytes(gzip.compress(plain.read_bytes()))

    write(seed=1)
    config = replace(config, dataset=replace(config.dataset, train=str(tmp_path / kind)))
    finish(config, tmp_path, measured | {"data": load_corpus(config.dataset, None).fingerprint()})
    assert known(config, tmp_path) is not None
    write(seed=1)
    assert known(config, tmp_path) is not None
    write(seed=3)
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("change", [{"status": "failed"}, {"versions": {"lrsl": "0.0.0"}}, {"data": "other"}])
def test_a_run_that_failed_or_was_made_otherwise_has_not_finished(
    config: Config, measured: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    assert known(config, tmp_path) is None
    finish(config, tmp_path, measured)
    assert known(config, tmp_path) == measured
    results.write(tmp_path, measured | change)
    assert known(config, tmp_path) is None


@pytest.mark.parametrize("change", [{"commit": "0123456789+"}, {"commit": None}, {"machine": "another"}])
def test_a_run_made_at_another_commit_or_machine_has_finished_all_the_same(
    config: Config, measured: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    finish(config, tmp_path, measured | change)
    assert known(config, tmp_path) == measured | change


def test_results_are_of_the_configuration_that_was_noted_last(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    results.write(tmp_path, measured)
    assert known(config, tmp_path) is None  # interrupted before the note
    finish(config, tmp_path, measured)
    assert known(replace(config, seed=7), tmp_path) is None
    assert known(replace(config, rerun=True, cache=False), tmp_path) == measured  # keys that change no result


@pytest.mark.parametrize("damaged", ["", "[1]", '{"seed": '])
def test_a_damaged_note_is_none(config: Config, measured: dict[str, Any], tmp_path: Path, damaged: str) -> None:
    finish(config, tmp_path, measured)
    (tmp_path / finished.CONFIGURATION).write_text(damaged)
    assert known(config, tmp_path) is None


def test_a_failure_is_recorded_over_anything_but_finished_results(
    config: Config, measured: dict[str, Any], tmp_path: Path
) -> None:
    for reason in ("no such luck", "nor this time"):
        finished.record_failure(asdict(config), tmp_path, reason)
        failed = json.loads((tmp_path / results.RESULTS).read_text())
        assert failed.items() >= {"status": "failed", "error": reason, "dataset": "tiny", "seed": 0}.items()
    finish(config, tmp_path, measured)
    finished.record_failure(asdict(config), tmp_path, "no such luck")
    assert results.read(tmp_path) == measured
    finished.record_failure(asdict(replace(config, rerun=True)), tmp_path, "no such luck")
    assert (results.read(tmp_path) or {})["status"] == "failed"
