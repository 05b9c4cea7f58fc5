"""Other rules on what runs have left."""

from dataclasses import replace

import pytest
import tiny
import torch

from lrsl.commands import replay
from lrsl.commands.main import main
from lrsl.config.schema import Config
from lrsl.errors import InputError
from lrsl.run import pipeline, scored
from lrsl.run.rules import rule_of, rules_beside


@pytest.fixture(scope="module")
def runs(tiny_corpus, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = replace(tiny.config(tiny_corpus, tiny_bert), cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))
    return folder, [pipeline.run(replace(config, seed=seed), folder / f"seed{seed}") for seed in (0, 1)]


def test_the_run_s_own_rule_comes_out_as_in_the_run(runs):
    folder, found = runs
    (fitted,) = rules_beside(Config())
    for seed, results in enumerate(found):
        again = replay.replay(folder / f"seed{seed}", fitted)
        assert again.before.mean() == pytest.approx(results["origin"]["accuracy"])
        assert again.after.mean() == pytest.approx(results["fitted"]["if_deployed"]["accuracy"])
        assert again.hard == pytest.approx(results["fitted"]["hard_fraction"])
        assert again.pays == results["fitted"]["pays"]


def test_scores_are_kept_with_the_labels_they_are_of(runs):
    folder, _ = runs
    kept = scored.read(folder / "seed0")
    assert set(kept.views) == {"label_similarity", "instances", "lexical"}
    for split, rows in (("val", 48), ("test", 60)):
        assert kept.logits[split].shape == (rows, 4)
        assert kept.labels[split].shape == (rows,)
        assert all(view[split].shape == (rows, 4) for view in kept.views.values())
    assert torch.equal(kept.labels["test"], torch.tensor(tiny_labels(folder)))


def tiny_labels(folder):
    import json

    lines = [json.loads(line) for line in (folder / "seed0" / "predictions.jsonl").read_text().splitlines()]
    names = json.loads((folder / "seed0" / "labels.json").read_text())["labels"]
    return [names.index(line["gold"]) for line in lines]


def test_the_command_shows_every_rule_that_is_tried(runs, capsys):
    folder, _ = runs
    assert main(["replay", str(folder), "--rule", "{name: words, views: [lexical]}", "--rule", "{name: ours}"]) == 0
    shown = capsys.readouterr().out
    for part in ("words", "ours", "tiny", " of 2"):
        assert part in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no folder; name one that holds runs"),
        (["."], "has kept its scores (scores.safetensors)"),
        ([".", "--rule", "{name: ["], "is no YAML"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["replay", *arguments]) == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def test_a_view_that_was_not_kept_is_named(runs):
    folder, _ = runs
    rule = rule_of("rules", {"name": "mine", "views": ["class_mean"]}, Config())
    with pytest.raises(InputError, match=r"no scores of the view class_mean with .*; it has instances with"):
        replay.replay(folder / "seed0", rule)


def test_scores_of_other_settings_are_not_taken_for_them(runs):
    folder, _ = runs
    strict = {"_target_": "lrsl.Lexical", "strength": 1.0}
    with pytest.raises(InputError, match=r"no scores of the view lexical with .*1\.0.*; it has"):
        replay.replay(folder / "seed0", rule_of("rules", {"name": "mine", "views": [strict]}, Config()))


def test_damaged_scores_are_one_sentence(tmp_path):
    (tmp_path / "scores.safetensors").write_bytes(b"\x10")
    with pytest.raises(InputError, match=r"scores\.safetensors is damaged"):
        scored.read(tmp_path)
