"""What a gain is worth, from the predictions of several seeds."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from fabricated_results import N, answers, write_run, write_seeds

from experiments.runs import significance
from experiments.runs.collect import Run, collect
from lrsl import metrics

RNG = np.random.default_rng(0)
ORIGIN, RERANK, SIMILARITY = RNG.random((3, 4, N)) < 0.8


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    for seed in range(4):
        write_run(
            tmp_path / f"seed{seed}",
            seed=seed,
            origin=ORIGIN[seed],
            rerank=RERANK[seed],
            similarity=SIMILARITY[seed],
            hard=range(10 * seed, 10 * seed + 30),
        )
    return collect([tmp_path])


def test_seeds_and_samples_are_paired(runs: list[Run]) -> None:
    worth = significance.gain(runs, "origin", "rerank")
    gain, low, high = metrics.clustered_bootstrap_gain(ORIGIN, RERANK)
    assert (worth.p_value, worth.low, worth.high) == (metrics.sign_flip_test(ORIGIN, RERANK), low, high)
    assert worth.unknown is None
    assert low < gain < high
    other = significance.gain(runs, "similarity", "origin")
    assert other.p_value == metrics.sign_flip_test(SIMILARITY, ORIGIN)


def test_easy_samples_alone_are_each_runs_own(runs: list[Run]) -> None:
    easy = np.array([~np.isin(np.arange(N), range(10 * seed, 10 * seed + 30)) for seed in range(4)])
    worth = significance.gain(runs, "similarity", "origin", easy=True)
    assert worth.p_value == metrics.sign_flip_test(SIMILARITY & easy, ORIGIN & easy)
    assert worth.p_value != significance.gain(runs, "similarity", "origin").p_value
    assert worth.low is None


def test_one_seed_says_what_the_run_says_with_or_without_its_predictions(runs: list[Run]) -> None:
    reported = runs[2].results["significance"]
    worth = significance.gain(runs[2:3], "origin", "rerank")
    assert worth.p_value == reported["p_value"] == pytest.approx(metrics.sign_flip_test(ORIGIN[2:3], RERANK[2:3]))
    assert (worth.low, worth.high) == (reported["gain_low"], reported["gain_high"])
    (runs[2].folder / "predictions.jsonl").unlink()
    assert significance.gain(runs[2:3], "origin", "rerank") == worth


def test_variants_are_paired_by_seed(tmp_path: Path) -> None:
    write_seeds(tmp_path / "a", [0, 1], rerank=answers(80))
    write_seeds(tmp_path / "b", [0, 1], rerank=answers(90), embedding__negatives="batch")
    one, two = collect([tmp_path / "a"]), collect([tmp_path / "b"])
    worth = significance.between(list(zip(one, two, strict=True)))
    assert worth.p_value == pytest.approx(2 / 2**10)
    assert worth.low is not None
    assert worth.low > 0


def test_missing_predictions_are_named(runs: list[Run]) -> None:
    for seed in (0, 3):
        (runs[seed].folder / "predictions.jsonl").unlink()
    worth = significance.gain(runs, "origin", "rerank")
    assert (worth.p_value, worth.unknown) == (None, "no predictions.jsonl of seeds 0, 3")


def test_compressed_predictions_are_read(runs: list[Run]) -> None:
    expected = significance.gain(runs, "origin", "rerank")
    significance.answered.cache_clear()
    for run in runs:
        plain = run.folder / "predictions.jsonl"
        with plain.open("rb") as source, gzip.open(run.folder / "predictions.jsonl.gz", "wb") as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
    assert significance.gain(runs, "origin", "rerank") == expected


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-20], lambda text: text.replace('"origin"', '"orgin"'), lambda text: "[1]\n"]
)
def test_damaged_predictions_are_named_and_left_out(runs: list[Run], caplog: pytest.LogCaptureFixture, damage) -> None:
    path = runs[1].folder / "predictions.jsonl"
    path.write_text(damage(path.read_text()))
    assert significance.gain(runs, "origin", "rerank").unknown == "no predictions.jsonl of seed 1"
    (record,) = caplog.records
    assert f"{path} is damaged and left out (" in record.getMessage()


def test_runs_on_other_samples_are_not_compared(runs: list[Run]) -> None:
    path = runs[1].folder / "predictions.jsonl"
    path.write_text(path.read_text().replace("test-7", "test-x"))
    worth = significance.gain(runs, "origin", "rerank")
    assert worth.unknown == "the runs were not tested on the same samples"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([3], "seed 3"), ([0, 1], "seeds 0, 1"), ([0, 1, 2, 3, 4], "seeds 0–4"), ([0, 2, 3, 4, 9], "seeds 0, 2–4, 9")],
)
def test_seeds_in_words(numbers: list[int], text: str) -> None:
    assert significance.seeds(numbers) == text
