"""The rules beside the paper's, from configuration to results."""

import dataclasses
import json
from dataclasses import replace

import pytest
import tiny

import lrsl
from lrsl.config.schema import Config, RerankerConfig, RuleConfig
from lrsl.errors import InputError
from lrsl.run import pipeline, results, scored
from lrsl.run.rules import needs_second_classifier, rules_beside


def beside(**keys):
    return rules_beside(Config(reranker=RerankerConfig(**keys)))


def test_the_fitted_rule_is_there_by_default():
    (fitted,) = beside()
    assert fitted.name == "fitted"
    assert fitted.rule.detector == lrsl.Margin()
    assert fitted.rule.fusion == lrsl.LogLinear()
    assert fitted.rule.threshold == lrsl.BestGain(without_gain="mistakes")
    assert [view.name for view in fitted.views] == ["label_similarity", "instances", "lexical", "linear_probe"]
    assert beside(fitted=RuleConfig(views=[])) == []


@pytest.mark.parametrize("on_hard", ["abstain", "set"])
def test_hard_samples_that_are_not_reranked_are_where_the_classifier_errs(on_hard):
    (fitted,) = beside(on_hard=on_hard)
    assert fitted.rule.threshold == lrsl.Sigma2Mis()
    (chosen,) = beside(on_hard=on_hard, fitted=RuleConfig(threshold="best_gain"))
    assert chosen.rule.threshold == lrsl.BestGain()


def test_parts_are_named_shortly_or_by_class_and_take_k():
    fitted = RuleConfig(
        detector="topk_variance", threshold={"_target_": "lrsl.Budget", "share": 0.2}, views=["lexical"], fusion="paper"
    )
    (made,) = beside(fitted=fitted, k=4)
    assert made.rule.detector == lrsl.TopKVariance(4)
    assert made.rule.threshold == lrsl.Budget(0.2)
    assert made.rule.fusion == lrsl.Paper()
    assert made.views[0].settings == {"_target_": "lrsl.Lexical"}


def test_further_rules_differ_from_the_fitted_one_in_what_they_name():
    fitted, words = beside(rules=[{"name": "words", "views": ["lexical"]}])
    assert words.rule == fitted.rule
    assert [view.name for view in words.views] == ["lexical"]


def test_the_control_asks_a_second_classifier_in_place_of_the_views():
    fitted, control = beside(control=True)
    assert control.rule == fitted.rule
    assert not needs_second_classifier([fitted])
    assert needs_second_classifier([control])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fitted": RuleConfig(detector="margins")}, r"reranker\.fitted\.detector=margins is unknown; choose one of"),
        ({"fitted": RuleConfig(views="lexical")}, r"reranker\.fitted\.views is 'lexical'; it must be a list"),
        ({"rules": ["mine"]}, r"reranker\.rules\.0 is 'mine'; it must have a name"),
        ({"rules": [{"views": ["lexical"]}]}, r"it must have a name"),
        ({"rules": [{"name": "a", "view": "lexical"}]}, r"reranker\.rules\.0 has view; its parts are detector, thresh"),
        ({"rules": [{"name": "rerank"}]}, r"reranker\.rules\.0 is called rerank, which is taken"),
        ({"rules": [{"name": "gold"}]}, r"reranker\.rules\.0 is called gold, which is taken"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, r"reranker\.rules\.1 is called a, which is taken"),
        (
            {"rules": [{"name": "a", "fusion": {"_target_": "lrsl.Lexical"}}]},
            r"reranker\.rules\.0\.fusion\._target_=lrsl\.Lexical is no lrsl\.Fusion",
        ),
        (
            {"rules": [{"name": "a", "threshold": {"_target_": "lrsl.Budget", "share": 2}}]},
            r"reranker\.rules\.0\.threshold cannot be made: lrsl\.Budget says share is 2",
        ),
    ],
)
def test_a_mistake_is_one_sentence(keys, message):
    with pytest.raises(InputError, match=message):
        beside(**keys)


def test_deploying_what_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"reranker\.deploy=best"):
        RerankerConfig(deploy="best")
    with pytest.raises(InputError, match=r"reranker\.deploy=fitted needs a fitted rule"):
        RerankerConfig(deploy="fitted", fitted=RuleConfig(views=[]))


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert, tmp_path_factory):
    made = tiny.config(tiny_corpus, tiny_bert)
    return replace(made, cache=True, cache_dir=str(tmp_path_factory.mktemp("store")))


def with_reranker(config, **keys):
    return replace(config, reranker=replace(config.reranker, **keys))


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    words = {"name": "words", "views": ["lexical"]}
    return pipeline.run(with_reranker(config, control=True, rules=[words]), folder), folder


def test_results_have_the_rules_and_what_each_gains(whole):
    found, _ = whole
    for told in (found["fitted"], found["control"], found["rules"]["words"]):
        assert told["significance"]["gain"] == pytest.approx(told["accuracy"] - found["origin"]["accuracy"])
        assert told["temperature"] > 0
        assert set(told["weights"]) == set(told["views"])
        assert all(weight >= 0 for weight in told["weights"].values())
    assert found["control"]["views"] == ["second_classifier"]
    for part in ("threshold", "hard_fraction"):
        assert found["control"][part] == found["fitted"][part]  # a gain on other rows would be another gain
    assert set(found["selective"]) == {"rerank", "fitted", "control", "words"}
    assert set(found["validation"]) >= {"origin", "rerank", "fitted", "control", "words"}


def test_the_fitted_rule_stands_aside_where_validation_says_so(whole):
    found, folder = whole
    fitted, verdict = found["fitted"], found["verdict"]
    assert fitted["pays"] == verdict["fitted"]["deploy"]
    expected = fitted["if_deployed"] if fitted["pays"] else found["origin"]
    assert {key: fitted[key] for key in expected} == expected
    assert verdict["deployed"] == ("fitted" if fitted["pays"] else verdict["deployed"])
    lines = pipeline.results.read(folder)
    assert lines == found


@pytest.mark.parametrize("deploy", ["origin", "rerank", "fitted"])
def test_what_is_forced_is_deployed(config, whole, tmp_path, deploy):
    found = pipeline.run(with_reranker(config, deploy=deploy), tmp_path)
    assert found["verdict"]["deployed"] == deploy
    assert found["verdict"]["reason"] == f"reranker.deploy={deploy}"
    assert found["rerank"] == whole[0]["rerank"]


def test_the_table_shows_what_there_is(whole, capsys):
    results.show(whole[0])
    shown = capsys.readouterr().out
    for row in ("origin", "rerank", "fitted", "control", "similarity"):
        assert f"│ {row}" in shown
    assert "deployed: " in shown
    old = {key: value for key, value in whole[0].items() if key not in ("fitted", "control", "verdict")}
    results.show(old)
    assert "fitted" not in capsys.readouterr().out  # recorded by an earlier version


def test_every_field_of_a_rule_is_a_part_of_one():
    assert [field.name for field in dataclasses.fields(RuleConfig)] == ["detector", "threshold", "views", "fusion"]


def test_weights_that_a_view_names_are_missed_before_anything_is_trained(tiny_corpus, tiny_bert, tmp_path):
    config = tiny.config(tiny_corpus, tiny_bert)
    probe = {"_target_": "lrsl.LinearProbe", "pretrained": str(tmp_path / "nowhere")}
    fitted = replace(config.reranker.fitted, views=["lexical", probe])
    with pytest.raises(InputError, match=r"view\.pretrained=.*nowhere"):
        pipeline.run(replace(config, reranker=replace(config.reranker, fitted=fitted)), tmp_path / "run")
    assert not (tmp_path / "run" / "classifier").exists()


def test_a_run_with_a_probe_keeps_a_reranker_that_needs_nothing_else(tiny_corpus, tiny_bert, tmp_path):
    config = tiny.config(tiny_corpus, tiny_bert)
    probe = {"_target_": "lrsl.LinearProbe", "pretrained": str(tiny_bert)}
    fitted = replace(config.reranker.fitted, views=["lexical", probe])
    found = pipeline.run(replace(config, reranker=replace(config.reranker, fitted=fitted, deploy="fitted")), tmp_path)
    assert found["verdict"]["deployed"] == "fitted"
    kept = scored.read(tmp_path)
    assert set(kept.views) >= {"lexical", "linear_probe"}
    reranker = lrsl.Reranker.from_pretrained(tmp_path / "reranker")
    texts = [json.loads(line)["text"] for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    answers = reranker.predict(kept.logits["test"], texts)
    right = (answers == kept.labels["test"]).double().mean().item()
    assert right == pytest.approx(found["fitted"]["accuracy"])
