"""Runs whose rules are fitted out of fold."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median_high

import pytest
import pytorch_lightning as pl
import tiny
import torch
from safetensors.torch import load_file

from lrsl.commands.replay import replay
from lrsl.config.schema import RerankerConfig, RuleConfig
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.reranking.view.cross_encoder import CrossEncoder
from lrsl.run import finished, pipeline, scored
from lrsl.run.rescored import Rescored
from lrsl.run.rules import papers_rule, rules_beside
from lrsl.run.stages import classifier as classifier_stage
from lrsl.run.stages import folds as folds_stage
from lrsl.run.stages.folds import Folds
from lrsl.run.store import Store

FOLDS = 3


@pytest.fixture(scope="module")
def config(tiny_corpus, tiny_bert, tmp_path_factory):
    """Three folds of a training file in which some texts stand twice, and a view that learns from candidates."""
    folder = tmp_path_factory.mktemp("twice")
    lines = (tiny_corpus / "train.csv").read_text(encoding="utf-8").splitlines()
    (folder / "train.csv").write_text("\n".join([*lines, *lines[1:30]]) + "\n", encoding="utf-8")
    (folder / "test.csv").write_text((tiny_corpus / "test.csv").read_text(encoding="utf-8"), encoding="utf-8")
    made = tiny.config(folder, tiny_bert)
    dataset = replace(made.dataset, unlabelled=made.dataset.test, leaderboard="predict.json")
    view = {"_target_": "lrsl.CrossEncoder", "pretrained": str(tiny_bert), "epochs": 1, "max_length": 24}
    both = {"name": "both", "views": ["label_similarity", view]}
    reranker = replace(made.reranker, folds=FOLDS, control=True, rules=[both])
    store = str(tmp_path_factory.mktemp("store"))
    return replace(made, dataset=dataset, reranker=reranker, cache=True, cache_dir=store)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return pipeline.run(config, folder), folder


@pytest.fixture(scope="module")
def corpus(config):
    return load_corpus(config.dataset, None)


def test_a_view_is_fitted_again_on_the_same_folds(config, whole):
    _, folder = whole
    (folder / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
    asked = {view.name: view for rule in rules_beside(config) for view in rule.views}
    for name in ("lexical", "linear_probe"):
        for split, scores in Rescored(folder)(folder, asked[name]).items():
            assert torch.equal(scores, scored.read(folder).views[name][split])


@pytest.fixture
def made(monkeypatch):
    """The stages that are made, not taken, from here on, with what each is made of."""
    stages = []
    make = Store._make

    def spy(self, place, manifest, *arguments):
        made = make(self, place, manifest, *arguments)
        if manifest["stage"] not in ("tokens", "labels"):
            stages.append((manifest["stage"], manifest["made_of"]))
        return made

    monkeypatch.setattr(Store, "_make", spy)
    return stages


def test_results_say_what_was_learnt_from_and_for_how_long(config, whole, corpus):
    found, folder = whole
    pool = len(corpus.train) + len(corpus.val)
    assert (found["n_train"], found["n_val"], found["n_test"], found["folds"]) == (pool, pool, 60, FOLDS)
    for told in (found["epochs"]["classifier"], found["epochs"]["embedding"]):
        assert len(told["of_folds"]) == FOLDS
        assert told["on_all"] == median_high(told["of_folds"])
    assert found["data"] == corpus.fingerprint()
    assert not (folder / "folds").exists()
    assert (folder / "classifier" / "best.ckpt").is_file()
    assert (folder / "embedding" / "model.safetensors").is_file()
    assert {"fitted", "control", "rules", "verdict"} <= set(found)
    assert found["verdict"]["fitted"]["n"] == pool
    assert len((folder / "predict.json").read_text(encoding="utf-8").splitlines()) == 60
    configuration = asdict(config)
    finished.record_finish(configuration, folder)
    assert finished.results_of(config, configuration, folder) == json.loads((folder / "results.json").read_text())
    counts = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["counts"]
    assert [sum(counts[split]) for split in ("train", "val")] == [len(corpus.train), len(corpus.val)]


def test_rules_are_fitted_on_rows_out_of_fold_and_can_be_replayed(config, whole, corpus):
    found, folder = whole
    kept = scored.read(folder)
    assert kept.labels["val"].tolist() == corpus.train.labels + corpus.val.labels
    accuracy = (kept.logits["val"].argmax(-1) == kept.labels["val"]).double().mean().item()
    assert found["validation"]["origin"]["accuracy"] == pytest.approx(accuracy)
    assert replay(folder, papers_rule(config)).hard == pytest.approx(found["hard_fraction"], abs=0.05)
    (name,) = [name for name in kept.views if name.startswith("cross_encoder")]
    scores = kept.views[name]["val"]
    assert (~scores.isnan()).sum(-1).unique().tolist() == [3]
    assert kept.logits["val"].topk(3).indices.sort().values.equal((~scores.isnan()).nonzero()[:, 1].view(-1, 3))


def test_a_second_run_takes_everything_from_the_store(config, whole, tmp_path, monkeypatch, made):
    for name in ("fit", "predict"):
        monkeypatch.setattr(pl.Trainer, name, None)
    monkeypatch.setattr(CrossEncoder, "fit", None)
    found = pipeline.run(config, tmp_path)
    assert made == []
    assert {**found, "seconds": None} == {**whole[0], "seconds": None}
    for name in ("predictions.jsonl", "suspect_labels.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole[1] / name).read_bytes()
    again, before = (load_file(folder / "scores.safetensors") for folder in (tmp_path, whole[1]))
    assert all(torch.equal(again[name].nan_to_num(9), value.nan_to_num(9)) for name, value in before.items())


def test_every_row_is_predicted_once_by_what_has_seen_neither_it_nor_its_text(config, corpus, tmp_path, monkeypatch):
    pool = corpus.train.joined(corpus.val)
    predicted = []
    train, tune = folds_stage.train_classifier, folds_stage.finetune_embedding

    def watched(context, *arguments, **keys):
        made = train(context, *arguments, **keys)
        if context.folder.name == "folds":
            assert not {*context.corpus.train.texts} & {*context.corpus.val.texts}
            assert sorted(context.corpus.train.ids + context.corpus.val.ids) == sorted(pool.ids)
            predicted.extend(context.corpus.val.ids)
        return made

    def tuned(context, confused, epochs=None, candidates=None):
        assert len(candidates) == len(confused) == len(context.corpus.train)
        return tune(context, confused, epochs, candidates)

    monkeypatch.setattr(folds_stage, "train_classifier", watched)
    monkeypatch.setattr(folds_stage, "finetune_embedding", tuned)
    reranker = replace(config.reranker, control=False)
    pipeline.run(replace(config, reranker=reranker), tmp_path)
    assert sorted(predicted) == sorted(pool.ids)
    assert len(set(pool.texts)) < len(pool)  # else equal texts would not be tested


def test_out_of_fold_logits_are_those_of_the_folds_in_the_order_of_all_rows(config, whole, corpus, tmp_path):
    kept = scored.read(whole[1]).logits["val"]
    folds = Folds(corpus, FOLDS, config.dataset.drawn_by)
    context = pipeline.RunContext(config, folds.corpus, tmp_path, None, Store(Path(config.cache_dir)))
    for turn in folds._turns(context, "classifier"):
        classifier = classifier_stage.train_classifier(turn.context, papers_rule(config).rule)
        assert torch.equal(classifier.logits("val"), kept[turn.rows])
        assert sorted([*turn.rows.tolist(), *turn.others.tolist()]) == list(range(len(kept)))


def test_views_learn_from_candidates_out_of_fold(config, whole, tmp_path, monkeypatch):
    asked = []
    fit = CrossEncoder.fit

    def watched(self, given):
        asked.append((len(given.texts), given.candidates()))
        return fit(self, given)

    monkeypatch.setattr(CrossEncoder, "fit", watched)
    store = tmp_path / "store"
    pipeline.run(replace(config, cache_dir=str(store), reranker=replace(config.reranker, control=False)), tmp_path)
    out_of_fold = scored.read(tmp_path).logits["val"].topk(3).indices
    folds = Folds(load_corpus(config.dataset, None), FOLDS, config.dataset.drawn_by)
    others = [torch.tensor([row for row in range(len(out_of_fold)) if row not in rows]) for rows in folds.rows]
    expected = [out_of_fold[rows] for rows in (*others, torch.arange(len(out_of_fold)))]
    assert all(n == len(candidates) for n, candidates in asked)
    assert [torch.equal(given, want) for (_, given), want in zip(asked, expected, strict=True)] == [True] * 4


def test_an_interrupted_run_goes_on_where_it_was(config, whole, tmp_path, monkeypatch, made):
    interrupted = replace(config, cache_dir=str(tmp_path / "store"), reranker=replace(config.reranker, control=False))
    fit, fits = pl.Trainer.fit, []

    def stop(self, *arguments, **keys):
        fits.append(1)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(self, *arguments, **keys)

    monkeypatch.setattr(pl.Trainer, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(interrupted, tmp_path / "run")
    assert [stage for stage, _ in made].count("classifier") == 2
    made.clear()
    found = pipeline.run(interrupted, tmp_path / "run")
    assert [stage for stage, _ in made].count("classifier") == FOLDS + 1 - 2
    assert found["origin"] == whole[0]["origin"]
    assert not (tmp_path / "run" / "folds").exists()


def test_the_classifier_on_all_rows_is_trained_for_the_epochs_of_the_folds_on_their_schedule(
    config, corpus, tmp_path, monkeypatch, made
):
    longer = replace(config, model=replace(config.model, epochs=5, patience=1), cache_dir=str(tmp_path / "store"))
    monkeypatch.setattr(classifier_stage, "epoch_of", lambda _: 2)
    rates, validated = [], []
    optimisation = classifier_stage.Classifier.optimisation

    def watched(self, steps):
        rates.append(steps)
        return optimisation(self, steps)

    monkeypatch.setattr(classifier_stage.Classifier, "optimisation", watched)
    monkeypatch.setattr(classifier_stage.Classifier, "on_validation_epoch_end", lambda self: validated.append(1), False)
    folds = Folds(corpus, FOLDS, 0)
    context = pipeline.RunContext(longer, folds.corpus, tmp_path, None, Store(tmp_path / "store"), logged=False)
    classifier = folds.classifier(context, papers_rule(longer).rule)
    assert classifier.epochs() == {"of_folds": [2] * FOLDS, "on_all": 2}
    before = len(validated)
    batches = -(-len(folds.corpus.train) // longer.model.batch_size)
    assert rates[-1] == 5 * batches
    assert [stage["stopped after"] for name, stage in made if name == "classifier" and "stopped after" in stage] == [2]
    saved = torch.load(tmp_path / "classifier" / "best.ckpt", weights_only=True)
    assert saved["global_step"] == 2 * batches
    assert len(validated) == before > 0
    weights = classifier.module.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in saved["state_dict"].items())


def test_off_the_shelf_only_views_are_fitted_in_folds(config, tmp_path):
    reranker = replace(config.reranker, control=False, rules=[])
    found = pipeline.run(
        replace(config, embedding=replace(config.embedding, finetune=False), reranker=reranker), tmp_path
    )
    assert set(found["epochs"]) == {"classifier"}
    assert not (tmp_path / "embedding").exists()


def test_suspect_labels_are_those_that_are_wrong_more_often_than_not(whole, config, corpus):
    found = [json.loads(line) for line in (whole[1] / "suspect_labels.jsonl").read_text(encoding="utf-8").splitlines()]
    pool = corpus.train.joined(corpus.val)
    texts = dict(zip(pool.ids, pool.texts, strict=True))
    assert found
    for line in found:
        assert texts[line["id"]] == line["text"]
        assert line["probability_likelier"] > 0
        assert set(line["views"]) <= {*RuleConfig().views, "second_classifier", "cross_encoder"}

    def names(line):  # the words of tiny's texts say what they are about
        words = line["text"].split()
        return max(tiny.LABELS, key=lambda label: sum(word.startswith(label) for word in words))

    first = found[:10]
    assert sum(names(line) != line["given"] for line in first) > len(first) / 2


@pytest.mark.parametrize("folds", [1, -5])
def test_a_number_of_folds_that_is_none_is_one_sentence(folds):
    with pytest.raises(InputError, match=rf"^reranker\.folds={folds} is too small; it must be at least 2, or 0 for"):
        RerankerConfig(folds=folds)


def test_more_folds_than_texts_are_one_sentence_before_anything_is_trained(config, tmp_path):
    with pytest.raises(InputError, match=r"^reranker\.folds=1000 is too large; the 269 training and validation"):
        pipeline.run(replace(config, reranker=replace(config.reranker, folds=1000)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_folds_nothing_is_said_of_them(config, tmp_path):
    found = pipeline.run(replace(config, reranker=replace(config.reranker, folds=0, control=False, rules=[])), tmp_path)
    assert not {"folds", "epochs"} & set(found)
    assert not (tmp_path / "suspect_labels.jsonl").exists()
