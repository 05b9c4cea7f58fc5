import gzip
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import fabricated_runs
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.figures import (
    case_study,
    label_distance,
    label_distribution,
    marginal_effect,
    plate,
    plates,
    style,
    top_logits,
    topk_accuracy,
    trade_off,
)
from experiments.figures.__main__ import main
from experiments.runs import labels, predictions
from experiments.runs.collect import collect
from experiments.runs.configurations import Configuration, configurations
from lrsl.errors import InputError
from lrsl.run import results

ROOT = Path(__file__).parents[2]
NAMES = [
    *("figure1b-topk-accuracy", "figure4-marginal-effect", "figure5-top-logits", "figure6-case-study"),
    *("figure7-label-distribution", "figure9-label-distance", "risk-coverage", "cost-curve"),
]


@pytest.fixture
def found(tmp_path: Path) -> list[Configuration]:
    for seed in (0, 1):
        fabricated_runs.write_run(tmp_path / "bert" / f"seed{seed}", seed=seed)
    fabricated_runs.write_run(
        tmp_path / "roberta" / "seed0", model="roberta", dataset="电信", names=fabricated_runs.CHINESE
    )
    return configurations(collect([tmp_path]))


def line(hardness: float, gold: str, origin: str, if_hard: str) -> dict[str, object]:
    return {"hardness": hardness, "gold": gold, "origin": origin, "rerank_if_hard": if_hard}


# Figure 1b


def test_topk_accuracy_counts_the_ranks_of_the_true_label():
    ranks = [1, 1, 2, 3, 11]
    assert topk_accuracy.topk_accuracy([{"gold_rank_before": rank} for rank in ranks]) == [0.4, 0.6, 0.8, *[0.8] * 7]


def test_runs_without_ranks_know_the_accuracy_as_far_as_their_best_labels_go():
    best = [["a", 2.0], ["b", 1.0], ["c", 0.5]]
    lines = [{"gold": gold, "top_k_before": best} for gold in "abcd"]
    assert topk_accuracy.topk_accuracy(lines) == [0.25, 0.5, 0.75]


def test_curves_are_averaged_over_the_seeds_of_a_model_first(found, tmp_path):
    fabricated_runs.write_run(tmp_path / "electra" / "seed0", model="electra")
    curves = topk_accuracy.by_dataset(configurations(collect([tmp_path])))

    def top1(*folder: str) -> float:
        return float(results.read(tmp_path.joinpath(*folder))["origin"]["accuracy"])  # type: ignore[index]

    bert = (top1("bert", "seed0") + top1("bert", "seed1")) / 2
    assert curves["telecom"][0] == pytest.approx((bert + top1("electra", "seed0")) / 2)
    assert len(curves["telecom"]) == len(fabricated_runs.LABELS)
    assert curves["telecom"][-1] == 1.0


# Figures 4 and 10


def test_the_marginal_effect_of_every_threshold_by_hand():
    lines = [line(3.0, "a", "a", "b"), line(1.0, "a", "b", "a"), line(2.0, "a", "b", "b"), line(1.0, "b", "a", "b")]
    effect = marginal_effect.marginal_effect(lines)
    assert [effect.hard(threshold) for threshold in (0.5, 1.0, 1.5, 3.0, 4.0)] == [0, 0, 2, 3, 4]
    assert [effect.accuracy(threshold) for threshold in (1.0, 1.5, 3.0, 4.0)] == [0.25, 0.75, 0.75, 0.5]


def test_the_automatic_point_lies_on_the_curve_and_is_what_the_run_reported(found):
    for configuration in found:
        for run in configuration.runs.values():
            effect = marginal_effect.of_run(run)
            assert effect is not None
            chosen = run.results["sigma2_mis"]
            thresholds, counts, accuracies = effect.curve(chosen)
            (at,) = np.flatnonzero(thresholds == chosen)
            assert counts[at] == run.results["n_hard"]
            assert accuracies[at] == pytest.approx(run.value("rerank"))
            assert accuracies[0] == pytest.approx(run.value("origin"))


def test_the_curve_leaves_out_no_step(found):
    run = next(iter(found[0].runs.values()))
    effect = marginal_effect.of_run(run)
    assert effect is not None
    thresholds, _, accuracies = effect.curve(run.results["sigma2_mis"])
    between = np.random.default_rng(0).uniform(thresholds[0], thresholds[-1], size=500)
    drawn = accuracies[np.searchsorted(thresholds, between, side="left")]  # as steps up to each threshold
    np.testing.assert_allclose(drawn, [effect.accuracy(threshold) for threshold in between])


def test_predictions_of_another_run_are_not_drawn(tmp_path):
    fabricated_runs.write_run(tmp_path / "seed0")
    other = fabricated_runs.write_run(tmp_path / "other" / "seed1", seed=1)
    (other / "predictions.jsonl").replace(tmp_path / "seed0" / "predictions.jsonl")
    (run,) = (run for run in collect([tmp_path]) if run.seed == 0)
    with pytest.raises(InputError, match=r"seed0: predictions\.jsonl gives .* they are of different runs"):
        marginal_effect.of_run(run)


# Figures 5 and 11


def test_scores_of_hard_samples_are_scaled_from_0_to_10():
    lines = [
        {"hard": True, "top_k_before": [["a", 4.0], ["b", 2.0]]},
        {"hard": True, "top_k_before": [["b", 3.0], ["a", -1.0]]},
        {"hard": False, "top_k_before": [["a", 99.0], ["b", -99.0]]},
    ]
    np.testing.assert_allclose(top_logits.scaled(lines, "top_k_before"), [[10, 6], [8, 0]])
    assert top_logits.scaled(lines[2:], "top_k_before").size == 0


# Figure 6


def test_text_is_wrapped_at_spaces_and_in_chinese_anywhere():
    assert case_study.wrap("one two  three", columns=8) == ["one two", "three"]
    assert case_study.wrap("话费查询话费", columns=7) == ["话费查询", "话费"]  # a wide character takes 1.75 columns
    assert case_study.wrap("a" * 7, columns=3) == ["aaa", "aaa", "a"]
    assert case_study.wrap("a b c d", columns=1, lines=2) == ["a", "b …"]


def test_the_case_study_shows_what_was_mended_and_what_was_broken(found):
    drawn = case_study.plate(found)
    assert sum("mended" in panel.title for panel in drawn.panels) == 2
    assert sum("broken" in panel.title for panel in drawn.panels) <= 2
    figure = plate.printed(drawn)
    assert "✓" in {text.get_text() for axes in figure.axes for text in axes.texts}


# Risk and cost


def test_a_rule_orders_the_samples_by_its_own_detector():
    lines = [
        line(3.0, "a", "a", "b")
        | {"hard": False, "beside": {"fitted": {"hard": True, "hardness": 0.1, "if_hard": "b"}}},
        line(1.0, "a", "b", "a")
        | {"hard": True, "beside": {"fitted": {"hard": False, "hardness": 0.2, "if_hard": "a"}}},
    ]
    rules = trade_off.ordered(lines)
    assert list(rules) == ["rerank", "fitted"]
    assert rules["rerank"].after.tolist() == [True, True]
    assert rules["fitted"].after.tolist() == [False, False]
    assert rules["fitted"].hardness.tolist() == [0.1, 0.2]
    assert list(trade_off.ordered([{**one, "beside": {}} for one in lines])) == ["rerank"]
    axes = Figure().subplots()
    trade_off.draw_cost(rules, axes)
    curve, point = axes.lines[:2]
    assert (curve.get_xdata().tolist(), curve.get_ydata().tolist()) == ([0, 50, 100], [50, 100, 50])
    assert (point.get_xdata(), point.get_ydata()) == ([50], [100])


def test_the_curves_end_where_the_run_says(found):
    run = next(iter(found[0].runs.values()))
    rules = trade_off.ordered(predictions.predictions(run))
    axes = Figure().subplots()
    trade_off.draw_risk(rules, axes)
    origin, rerank = (curve.get_ydata()[-1] for curve in axes.lines)
    assert origin == pytest.approx(100 * (1 - run.value("origin")))
    assert rerank == pytest.approx(100 * (1 - run.value("rerank")))
    assert trade_off.ordered([{"gold": "a"}]) == {}


# Figures 7 and 9


def test_labels_stand_by_group_in_the_order_in_which_groups_come():
    content = {"labels": list("abcd"), "groups": ["z", "y", "z", "y"]}
    assert label_distance.by_group(content) == [0, 2, 1, 3]
    assert label_distance.by_group(content | {"groups": None}) == [0, 1, 2, 3]


def test_the_mean_similarity_is_that_of_different_labels():
    assert label_distance.off_diagonal(np.array([[1.0, 0.2], [0.4, 1.0]])) == pytest.approx(0.3)


def test_the_distribution_is_drawn_from_the_most_frequent_label_on():
    axes = Figure().subplots()
    label_distribution.draw([3, 9, 1], axes)
    assert [bar.get_height() for bar in axes.patches] == [9, 3, 1]


def test_what_runs_lack_is_said(tmp_path):
    fabricated_runs.write_run(tmp_path / "seed0", old=True)
    (tmp_path / "none").mkdir()
    results.write(tmp_path / "none", results.read(tmp_path / "seed0") | {"dataset": "bare", "seed": 3})  # type: ignore[operator]
    notes = [note for one in plates(configurations(collect([tmp_path]))) for note in one.notes]
    assert "telecom: runs without gold_rank_before, so its line begins at k = 3." in notes
    assert "bare, bert: no run kept predictions with rerank_if_hard." in notes
    assert {"telecom: no run has labels.json.", "bare: no run has labels.json."} <= set(notes)


def test_labels_without_similarity_before_are_drawn_alone(tmp_path):
    folder = fabricated_runs.write_run(tmp_path / "seed0")
    content = fabricated_runs.describe(fabricated_runs.LABELS, np.random.default_rng(0)) | {"similarity_before": None}
    (folder / "labels.json").write_text(fabricated_runs.json.dumps(content))
    drawn = label_distance.plate(configurations(collect([tmp_path])))
    assert [panel.title.partition(":")[0] for panel in drawn.panels] == ["telecom, as used"]
    assert "telecom: labels.json has no similarity_before, so there is nothing to compare with." in drawn.notes


def test_predictions_may_be_compressed(tmp_path):
    path = fabricated_runs.write_run(tmp_path / "seed0") / "predictions.jsonl"
    (run,) = collect([tmp_path])
    plain = predictions.predictions(run)
    path.with_name("predictions.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert predictions.predictions(run) == plain
    assert len(plain) == run.results["n_test"]


@pytest.mark.parametrize("damaged", ["{", "[1]\n", '{"id": 1}\n'])
def test_damaged_files_are_left_out_with_a_warning(tmp_path, caplog, damaged):
    folder = fabricated_runs.write_run(tmp_path / "seed0")
    (folder / "predictions.jsonl").write_text(damaged)
    (folder / "labels.json").write_text(damaged)
    (run,) = collect([tmp_path])
    assert predictions.predictions(run) == []
    assert labels.labels(run) is None
    assert [record.message.partition(" is damaged")[0] for record in caplog.records] == [
        str(folder / "predictions.jsonl"),
        str(folder / "labels.json"),
    ]


# All of them


def test_every_figure_is_written_twice_the_same(found, tmp_path, capsys):
    out = tmp_path / "figures"
    assert main([str(tmp_path), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{form}" for name in NAMES for form in ("svg", "png")
    )
    assert "Case study: " in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in out.glob("*.svg")}
    for name, content in first.items():
        ET.fromstring(content)
        assert len(content) < 1_000_000, name
    for one in plates(found):
        if one.panels:
            plate.save(one, out)
    assert {path.name: path.read_bytes() for path in out.glob("*.svg")} == first


def test_without_a_font_for_chinese_figures_are_drawn_and_one_sentence_says_so(found, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "chinese_fonts", tuple)
    assert main([str(tmp_path / "roberta"), "--out", str(tmp_path / "figures")]) == 0
    assert capsys.readouterr().err == style.NO_CHINESE + "\n"
    assert (tmp_path / "figures" / "figure9-label-distance.png").is_file()
    assert not plate.chinese_missing(plates([one for one in found if one.dataset == "telecom"]))


def test_fonts_are_tried_in_order(monkeypatch):
    monkeypatch.setattr(style.font_manager, "get_font_names", lambda: ["SimHei", "Noto Sans CJK SC", "DejaVu Sans"])
    style.chinese_fonts.cache_clear()
    assert style.chinese_fonts() == ("Noto Sans CJK SC", "SimHei")
    style.chinese_fonts.cache_clear()


def test_a_panel_for_a_page_has_its_colours_and_escapes_its_labels():
    names = ["$x$ </script><img onerror=1>", "b & c"]
    panel = plate.Panel('a "title"', lambda axes: label_distance.draw(np.eye(2), names, (0.0, 1.0), axes))
    element = plate.inline(panel, "one", (3.0, 3.0))
    root = ET.fromstring(element)
    assert {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")} >= set(names)
    assert root.attrib["aria-label"] == 'a "title"'
    assert "width" not in root.attrib
    assert style.INK not in element
    assert "var(--ink)" in element
    ids = re.findall(r' id="([^"]+)"', element)
    assert ids
    assert all(one.startswith("one-") for one in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", element)) <= set(ids)


def test_ablations_are_not_drawn_beside_the_whole_method(tmp_path):
    fabricated_runs.write_run(tmp_path / "full" / "seed0")
    folder = fabricated_runs.write_run(tmp_path / "ablated" / "seed0", seed=5)
    (folder / "config.json").write_text('{"embedding": {"name": "minilm", "finetune": false}}')
    drawn = plates(configurations(collect([tmp_path])))[1]
    assert [panel.title for panel in drawn.panels] == ["telecom, bert, seed 0"]


def test_no_folder_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_figures_and_report_never_import_torch():
    script = "import sys, experiments.figures.__main__, experiments.report.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
