"""Other rules on what runs have left."""

import json
import shutil
from dataclasses import asdict, replace

import pytest
import tiny
import torch
from safetensors.torch import save_file

from lrsl.commands import replay
from lrsl.commands.main import main
from lrsl.config.schema import Config
from lrsl.errors import InputError
from lrsl.run import pipeline, scored
from lrsl.run.rescored import Rescored
from lrsl.run.rules import rule_of, rules_beside

EVERY = {"_target_": "lrsl.Budget", "share": 1.0}  # every row is hard


@pytest.fixture(scope="module")
def runs(tiny_corpus, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = replace(tiny.config(tiny_corpus, tiny_bert), cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))
    found = [pipeline.run(replace(config, seed=seed), folder / f"seed{seed}") for seed in (0, 1)]
    for seed in (0, 1):
        (folder / f"seed{seed}" / "config.json").write_text(json.dumps(asdict(replace(config, seed=seed))))
    return folder, found


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
    assert set(kept.views) == {"label_similarity", "instances", "lexical", "linear_probe"}
    for split, rows in (("val", 48), ("test", 60)):
        assert kept.logits[split].shape == (rows, 4)
        assert kept.labels[split].shape == (rows,)
        assert all(view[split].shape == (rows, 4) for view in kept.views.values())
    assert torch.equal(kept.labels["test"], torch.tensor(tiny_labels(folder)))


def tiny_labels(folder):
    lines = [json.loads(line) for line in (folder / "seed0" / "predictions.jsonl").read_text().splitlines()]
    names = json.loads((folder / "seed0" / "labels.json").read_text())["labels"]
    return [names.index(line["gold"]) for line in lines]


def test_the_command_shows_every_rule_that_is_tried(runs, capsys):
    folder, _ = runs
    assert main(["replay", str(folder), "--rule", "{name: words, views: [lexical]}", "--rule", "{name: ours}"]) == 0
    shown = capsys.readouterr().out
    for part in ("words", "ours", "tiny", " of 2"):
        assert part in shown


def test_draws_of_a_seed_s_own_stand_in_one_row(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "drawn")
    for seed in (0, 1):
        folder = tmp_path / "drawn" / f"seed{seed}"
        results = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps(results | {"data": f"drawn by {seed}"}))
    assert len(replay._runs([tmp_path])) == 2
    for seed in (0, 1):
        of = {"dataset": {"per_class": 5, "split_seed": None}}
        (tmp_path / "drawn" / f"seed{seed}" / "config.json").write_text(json.dumps(of))
    assert len(replay._runs([tmp_path])) == 1


def test_a_split_that_is_one_seed_s_by_chance_keeps_its_row(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "same")
    for seed in (0, 1):
        of = {"dataset": {"per_class": 5, "split_seed": 0}}
        (tmp_path / "same" / f"seed{seed}" / "config.json").write_text(json.dumps(of))
    assert [len(found) for found in replay._runs([tmp_path]).values()] == [2]


def test_a_run_that_is_named_twice_counts_once(runs):
    folder, _ = runs
    assert replay._runs([folder, folder / "seed0", folder]) == replay._runs([folder])


def test_two_rules_of_one_name_are_refused(runs, capsys):
    same = "{name: mine, views: [lexical]}"
    assert main(["replay", str(runs[0]), "--rule", same, "--rule", "{name: mine, threshold: budget}"]) == 1
    assert capsys.readouterr().err == "two rules are called mine; give each --rule a name of its own\n"


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


def words(**settings):
    return rule_of("rules", {"name": "words", "views": [{"_target_": "lrsl.Lexical", **settings}]}, Config())


def test_a_view_that_was_not_asked_is_fitted_on_the_run_s_data(runs, tiny_corpus):
    folder, _ = runs
    kept = scored.read(folder / "seed0")
    again = Rescored(tiny_corpus)(folder / "seed0", words().views[0])
    for split, scores in again.items():
        assert torch.equal(scores, kept.views["lexical"][split])
    strict = words(strength=0.01)
    assert replay.replay(folder / "seed0", strict, Rescored(tiny_corpus)).after.shape == (60,)
    assert replay.judge_draws(folder / "seed0", strict, 1, Rescored(tiny_corpus))


def test_the_command_fits_a_probe_on_the_data_it_is_given(runs, tiny_corpus, tiny_bert, capsys):
    folder, _ = runs
    probe = f"{{name: probe, views: [lexical, {{_target_: lrsl.LinearProbe, pretrained: {tiny_bert}}}]}}"
    assert main(["replay", str(folder), "--rule", probe]) == 1
    assert "as lexical and linear_probe do, is fitted now with --data-dir FOLDER" in capsys.readouterr().err
    assert main(["replay", str(folder), "--rule", probe, "--data-dir", str(tiny_corpus)]) == 0
    assert "probe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("class_mean", "no scores of the view class_mean: this view needs a text embedding, and none is given"),
        ("second_classifier", "no scores of the view second_classifier: the view 'second classifier' needs another"),
        ("cross_encoder", "no scores of the view cross_encoder: it scores the labels that the run's classifier holds"),
    ],
)
def test_what_takes_more_than_the_data_is_refused(runs, tiny_corpus, tiny_bert, view, message):
    folder, _ = runs
    if view == "cross_encoder":
        view = {"_target_": "lrsl.CrossEncoder", "pretrained": str(tiny_bert)}
    rule = rule_of("rules", {"name": "mine", "views": [view]}, Config())
    with pytest.raises(InputError, match=message):
        replay.replay(folder / "seed0", rule, Rescored(tiny_corpus))


def test_other_data_are_refused(runs, tiny_corpus, tmp_path, capsys):
    other = shutil.copytree(runs[0], tmp_path / "other")
    results = json.loads((other / "seed0" / "results.json").read_text())
    (other / "seed0" / "results.json").write_text(json.dumps(results | {"data": "of another day"}))
    with pytest.raises(InputError, match=r"the data in .* are not those of .*seed0; name a folder that has these"):
        replay.replay(other / "seed0", words(strength=0.01), Rescored(tiny_corpus))
    assert main(["replay", str(other), "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.startswith(f"--data-dir {tmp_path / 'nowhere'} is no folder; name the one that")


def test_copies_among_the_rows_are_known_again(runs):
    kept = scored.read(runs[0] / "seed0")
    assert {split: len(alike) for split, alike in kept.alike.items()} == {"val": 48, "test": 60}
    both = replay._alike(kept)
    assert both[48:].min() >= 48
    assert torch.equal(replay._alike(replace(kept, alike=None)), torch.arange(108))


def test_damaged_scores_are_one_sentence(tmp_path):
    (tmp_path / "scores.safetensors").write_bytes(b"\x10")
    with pytest.raises(InputError, match=r"scores\.safetensors is damaged"):
        scored.read(tmp_path)


def test_verdicts_are_held_against_the_rows_they_have_not_seen(runs):
    folder, found = runs
    (fitted,) = rules_beside(Config())
    drawn = replay.judge_draws(folder / "seed0", fitted, 3)
    again = replay.judge_draws(folder / "seed0", fitted, 3)
    assert [(draw.deploys, draw.gain) for draw in drawn] == [(draw.deploys, draw.gain) for draw in again]
    n_others = found[0]["n_test"]  # as many as validation had were drawn
    assert all(draw.deploys.keys() == {"likelihood", "accuracy"} for draw in drawn)
    assert all(draw.gain * n_others == pytest.approx(round(draw.gain * n_others)) for draw in drawn)


def test_a_rule_that_always_answers_right_is_a_gain_and_is_deployed(runs, tmp_path):
    folder, _ = runs
    kept = scored.read(folder / "seed0")
    wrong = {split: -10 * torch.eye(4)[labels] for split, labels in kept.labels.items()}  # never the true label
    right = {split: torch.eye(4)[labels] for split, labels in kept.labels.items()}
    tensors = {
        f"{split}.{part}": value
        for part, of in (("logits", wrong), ("labels", kept.labels), ("view.v", right))
        for split, value in of.items()
    }
    save_file(tensors, tmp_path / "scores.safetensors", metadata={"v": '{"_target_": "lrsl.LabelSimilarity"}'})
    rule = rule_of("rules", {"name": "mine", "views": ["label_similarity"], "threshold": EVERY}, Config())
    drawn = replay.judge_draws(tmp_path, rule, 2)
    assert [(draw.deploys["accuracy"], draw.gain) for draw in drawn] == [(True, 1.0)] * 2


def test_the_command_shows_verdicts(runs, capsys):
    folder, _ = runs
    assert main(["replay", str(folder), "--verdicts", "1"]) == 0
    shown = capsys.readouterr()
    for part in ("likelihood", "accuracy", "on and a loss", "off and a gain"):
        assert part in shown.out
    assert shown.err.splitlines() == [f"{folder / f'seed{seed}'}: fitted …" for seed in (0, 1)]
    with pytest.raises(SystemExit, match="2"):
        main(["replay", str(folder), "--verdicts", "0"])
