"""The figure of gains against the number of training samples, and draws that belong together."""

import json
from pathlib import Path
from typing import Any

import fabricated_runs
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.figures import when_it_pays
from experiments.figures.plate import Plate
from experiments.runs.collect import collect
from experiments.runs.configurations import Configuration, configurations


def few(root: Path, per_class: int | None, seed: int, split_seed: int | None, **dataset: Any) -> None:
    """Write a run on few samples per label into a folder of its own."""
    folder = fabricated_runs.write_run(root / f"{per_class}-{split_seed}" / f"seed{seed}", seed=seed)
    results = json.loads((folder / "results.json").read_text())
    drawn = split_seed if split_seed is not None else seed
    (folder / "results.json").write_text(json.dumps(results | {"data": f"{per_class} by {drawn}"}))
    settings = json.loads((folder / "config.json").read_text())
    settings["dataset"] |= {"per_class": per_class, "split_seed": split_seed, **dataset}
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.fixture
def found(tmp_path: Path) -> list[Configuration]:
    for seed in (0, 1):
        few(tmp_path, 5, seed, None)
        few(tmp_path, 10, seed, None)
        few(tmp_path, None, seed, 0)
    return configurations(collect([tmp_path]))


def test_draws_of_the_seed_are_one_configuration(found: list[Configuration], tmp_path: Path) -> None:
    assert {one.settings.get("dataset.per_class"): sorted(one.runs) for one in found} == {
        5: [0, 1],
        10: [0, 1],
        None: [0, 1],
    }
    for seed in (0, 1, 2):
        few(tmp_path / "fixed", 5, seed, 1)  # one draw, whatever the seed, and be it the seed
    assert [sorted(one.runs) for one in configurations(collect([tmp_path / "fixed"]))] == [[0, 1, 2]]
    assert len(configurations(collect([tmp_path]))) == 4


def test_gains_stand_against_the_number_of_samples(found: list[Configuration]) -> None:
    plate = when_it_pays.plate(found)
    (panel,) = plate.panels
    assert panel.title == "telecom, bert"
    assert plate.notes == []
    by_number = {str(one.settings.get("dataset.per_class") or "all"): one for one in found}
    points = when_it_pays.points(by_number)
    assert set(points) == {"rerank", "similarity"}  # these runs measured no fitted rule and no control
    for number, one in by_number.items():
        gains = [run.results["rerank"]["accuracy"] - run.results["origin"]["accuracy"] for run in one.runs.values()]
        point = points["rerank"][number]
        assert point.gain == pytest.approx(np.mean(gains))
        assert point.low is not None
        assert point.high is not None
        assert point.low <= point.gain <= point.high

    axes = Figure().add_subplot()
    panel.draw(axes)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "10", "all"]
    line = next(line for line in axes.lines if line.get_label() == "the paper's rule")
    assert list(line.get_ydata()) == pytest.approx([100 * points["rerank"][name].gain for name in ("5", "10", "all")])


def test_what_is_not_drawn_is_said(tmp_path: Path) -> None:
    few(tmp_path, None, 0, 0)
    plate = when_it_pays.plate(configurations(collect([tmp_path])))
    assert plate.panels == []
    assert plate.notes == ["No run was trained on few samples per label; dataset.per_class=5 does that."]
    few(tmp_path, 5, 0, None)
    few(tmp_path / "fixed", 5, 1, 0)
    plate = when_it_pays.plate(configurations(collect([tmp_path])))
    (note,) = plate.notes
    assert note.startswith("Several configurations have as many samples per label, and none is drawn: ")
    assert plate.panels == []


def drawn(plate: Plate) -> list[list[float]]:
    """Return the heights of all lines of a figure's only panel."""
    (panel,) = plate.panels
    axes = Figure().add_subplot()
    panel.draw(axes)
    return [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]


def test_of_several_that_of_most_seeds_is_drawn(found: list[Configuration], tmp_path: Path) -> None:
    few(tmp_path / "fixed", 5, 1, 0)
    plate = when_it_pays.plate(configurations(collect([tmp_path])))
    assert plate.notes == []
    assert drawn(plate) == drawn(when_it_pays.plate(found))


def test_a_larger_corpus_of_the_same_name_is_no_point_of_the_curve(found: list[Configuration], tmp_path: Path) -> None:
    for seed in (0, 1):
        few(tmp_path / "larger", None, seed, 0, size="full")
    every = configurations(collect([tmp_path]))
    assert len(every) == len(found) + 1
    plate = when_it_pays.plate(every)
    assert (len(plate.panels), plate.notes) == (1, [])


def test_what_is_trained_on_validation_too_is_no_point_of_the_curve(found: list[Configuration], tmp_path: Path) -> None:
    few(tmp_path / "folds", 5, 0, None)
    (path,) = (tmp_path / "folds").rglob("config.json")
    settings = json.loads(path.read_text())
    settings["reranker"] = settings.get("reranker", {}) | {"folds": 5}
    path.write_text(json.dumps(settings))
    every = configurations(collect([tmp_path]))
    assert len(every) == len(found) + 1
    plate = when_it_pays.plate(every)
    assert (len(plate.panels), plate.notes) == (1, [])
