import csv
import gc
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from sentence_transformers import SentenceTransformer

from lrsl import core
from lrsl.data import load_corpus
from lrsl.embedding.text_embedding import encode, load_embedding
from lrsl.errors import InputError
from lrsl.run import finished, outcome, pipeline, results, scratch
from lrsl.run.rules import papers_rule
from lrsl.run.stages import classifier as classifier_stage
from lrsl.run.stages import embedding as embedding_stage
from lrsl.run.stages.context import RunContext
from lrsl.run.store import Store
from lrsl.training.classifier import Classifier


def run(config, folder):
    """Run, and return everything there is to look at."""
    found = pipeline.run(config, folder)
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return SimpleNamespace(
        config=config, folder=folder, results=found, lines=[json.loads(line) for line in lines], raw="\n".join(lines)
    )


@pytest.fixture(scope="module")
def first(tiny_corpus, tiny_bert, tmp_path_factory):
    """A run with seed 0, negatives=confused, and the test texts again as those of a leaderboard."""
    config = tiny.config(tiny_corpus, tiny_bert)
    dataset = replace(config.dataset, unlabelled=config.dataset.test, leaderboard="predict.json")
    return run(replace(config, dataset=dataset), tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def corpus(first):
    return load_corpus(first.config.dataset, None)


def without_times(found):
    return {key: value for key, value in found.items() if key != "seconds"}


def test_results_hold_what_is_promised(first, corpus):
    found = first.results
    assert results.read(first.folder) == found
    expected = {"dataset": "tiny", "model": "tiny", "seed": 0, "k": 3, "n_test": 60, "status": "finished"}
    assert expected.items() <= found.items()
    assert (found["n_train"], found["n_val"], found["classes"]) == (192, 48, 4)
    assert found["data"] == corpus.fingerprint()
    assert set(found["seconds"]) == {"classifier", "confused labels", "embedding", "similarity", "views", "test"}
    assert found["precision"] == "32-true"
    assert set(found["versions"]) == set(outcome.PACKAGES)


@pytest.mark.parametrize("negatives", ["all", "confused"])
def test_the_classifier_is_gone_when_the_embedding_trains(first, tmp_path, monkeypatch, negatives):
    def held():  # by type: some objects warn when they are asked for their class
        gc.collect()
        return sum(issubclass(type(thing), (Classifier, torch.optim.Optimizer)) for thing in gc.get_objects())

    before = held()
    found = []

    def stop(*_):
        found.append(held())
        raise InputError("seen enough")

    monkeypatch.setattr(pipeline, "finetune_embedding", stop)
    config = replace(first.config, embedding=replace(first.config.embedding, negatives=negatives))
    with pytest.raises(InputError, match="seen enough"):
        pipeline.run(config, tmp_path)
    assert found == [before]


def test_the_run_learned_something_and_reranked_something(first):
    # without both, the tests below would say little
    assert first.results["origin"]["accuracy"] > 0.5
    assert 0 < first.results["n_hard"] < 60
    assert first.results["sigma2_mis"] > 0


def test_accuracies_are_those_of_the_predictions(first):
    hard = [line["hard"] for line in first.lines]
    assert first.results["n_hard"] == sum(hard)
    assert first.results["hard_fraction"] == pytest.approx(sum(hard) / 60)
    for system in ("origin", "rerank", "similarity"):
        correct = [line[system] == line["gold"] for line in first.lines]
        for part, kept in (("", (True, False)), ("_hard", (True,)), ("_easy", (False,))):
            chosen = [c for c, h in zip(correct, hard, strict=True) if h in kept]
            assert first.results[system][f"accuracy{part}"] == pytest.approx(sum(chosen) / len(chosen))
    gain = first.results["rerank"]["accuracy"] - first.results["origin"]["accuracy"]
    assert first.results["significance"]["gain"] == pytest.approx(gain)


def test_a_line_per_test_sample_in_the_order_of_the_file(first, corpus):
    assert [line["id"] for line in first.lines] == corpus.test.ids
    assert [line["text"] for line in first.lines] == corpus.test.texts
    assert [line["gold"] for line in first.lines] == [corpus.labels[label] for label in corpus.test.labels]


def test_ranks_of_the_gold_label_are_those_of_the_scores(first):
    for line in first.lines:
        for rank, top in (("gold_rank_before", "top_k_before"), ("gold_rank_after", "top_k_after")):
            names = [name for name, _ in line[top]]
            assert names.index(line["gold"]) + 1 == line[rank] if line["gold"] in names else line[rank] == 4


def test_the_labels_are_described_as_the_run_saw_them(first, corpus):
    found = json.loads((first.folder / "labels.json").read_text(encoding="utf-8"))
    assert (found["labels"], found["texts"], found["groups"]) == (corpus.labels, corpus.label_texts, None)
    assert [sum(found["counts"][split]) for split in ("train", "val", "test")] == [192, 48, 60]
    embedding = SentenceTransformer(str(first.folder / "embedding"), device="cpu")
    vectors = torch.tensor(embedding.encode(corpus.label_texts))
    torch.testing.assert_close(torch.tensor(found["similarity_after"]), vectors @ vectors.T, rtol=0, atol=1e-3)
    assert found["similarity_before"] != found["similarity_after"]


def test_the_leaderboard_gets_what_is_deployed(first):
    lines = [json.loads(line) for line in (first.folder / "predict.json").read_text(encoding="utf-8").splitlines()]
    assert [line["label"] for line in lines] == [line["deployed"] for line in first.lines]


def test_hard_is_below_the_threshold_and_easy_samples_keep_their_answer(first):
    for line in first.lines:
        assert line["hard"] == (line["hardness"] < first.results["sigma2_mis"])
        logits = torch.tensor([[score for _, score in line["top_k_before"]]], dtype=torch.float64)
        assert line["hardness"] == pytest.approx(core.topk_variance(logits, 3).item(), rel=1e-4)
        assert line["top_k_before"][0][0] == line["origin"]
        assert line["top_k_after"][0][0] == line["rerank"]
        assert line["rerank"] == (line["rerank_if_hard"] if line["hard"] else line["origin"])
        for top in (line["top_k_before"], line["top_k_after"]):
            assert len(top) == 3
            assert [score for _, score in top] == sorted((score for _, score in top), reverse=True)


def test_the_threshold_is_that_of_the_tested_checkpoint(first):
    saved = torch.load(first.folder / "classifier" / "best.ckpt", weights_only=True)
    assert saved["callbacks"]["lrsl.RerankingCallback"]["sigma2_mis"] == first.results["sigma2_mis"]
    assert saved["optimizer_states"] == []


def test_the_saved_embedding_gives_the_reported_similarity(first, corpus):
    embedding = SentenceTransformer(str(first.folder / "embedding"), device="cpu")
    similarity = embedding.encode(corpus.test.texts) @ embedding.encode(corpus.label_texts).T
    nearest = [corpus.labels[label] for label in similarity.argmax(axis=1)]
    assert nearest == [line["similarity"] for line in first.lines]
    assert not list((first.folder / "embedding").glob("*.ckpt"))


def test_metrics_are_logged_under_their_names(first):
    with (first.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        logged = {key: float(value) for row in csv.DictReader(file) for key, value in row.items() if value}
    assert {"val/acc", "val/loss", "embedding/val_acc", "classifier/train_loss"} <= set(logged)
    for system in ("origin", "rerank", "similarity"):
        for part in ("", "_hard", "_easy"):
            assert logged[f"test/{system}_acc{part}"] == pytest.approx(first.results[system][f"accuracy{part}"])
    assert logged["test/hard_fraction"] == pytest.approx(first.results["hard_fraction"])
    assert logged["val/sigma2_mis"] == pytest.approx(first.results["sigma2_mis"])
    with (first.folder / "hard_samples.csv").open(encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [line["id"] for line in first.lines if line["hard"]]


def test_the_same_seed_gives_the_same_results(first, tmp_path):
    torch.manual_seed(99)  # what happened before makes no difference
    again = run(first.config, tmp_path)
    assert without_times(again.results) == without_times(first.results)
    assert again.raw == first.raw


@pytest.fixture(scope="module")
def other(first, tmp_path_factory):
    """Another seed, with the embedding off the shelf."""
    config = replace(first.config, seed=1, embedding=replace(first.config.embedding, finetune=False))
    return run(config, tmp_path_factory.mktemp("runs") / "other")


def test_another_seed_gives_another_classifier_on_the_same_data(first, other):
    assert other.results["data"] == first.results["data"]
    assert other.results["sigma2_mis"] != first.results["sigma2_mis"]
    assert [line["hardness"] for line in other.lines] != [line["hardness"] for line in first.lines]


def test_an_embedding_off_the_shelf_is_neither_trained_nor_saved(other, corpus, tiny_bert):
    assert other.results["embedding"] == "tiny off the shelf"
    assert not (other.folder / "embedding").exists()
    embedding = load_embedding(str(tiny_bert))
    similarity = core.label_similarity(encode(embedding, corpus.test.texts), encode(embedding, corpus.label_texts))
    assert [corpus.labels[i] for i in similarity.argmax(-1)] == [line["similarity"] for line in other.lines]


def test_a_run_without_the_store_that_is_stopped_leaves_no_scratch(tiny_corpus, tiny_bert, tmp_path):
    config = replace(tiny.config(tiny_corpus, tiny_bert), cache=False)

    def stopped(folder):
        raise KeyboardInterrupt

    def compute():
        with pipeline.stage_store(config, tmp_path) as store:
            store.get("classifier", {"a": 1}, lambda folder: (folder / "weights").write_bytes(b"1"))
            store.get("embedding", {"a": 1}, stopped)

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert list((tmp_path / pipeline.UNFINISHED).glob("classifier/*/weights"))
    assert not list((tmp_path / pipeline.UNFINISHED / scratch.FOLDER).glob("*"))


def test_a_run_that_has_ended_has_finished(first):
    configuration = asdict(first.config)
    assert finished.results_of(first.config, configuration, first.folder) is None
    finished.record_finish(configuration, first.folder)
    assert finished.results_of(first.config, configuration, first.folder) == first.results


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reranker": {"k": 5}}, r"reranker\.k=5 is too large; tiny has 4 labels, so it must be at most 4"),
        ({"model": {"pretrained": "nobody/nothing"}}, r"^model\.pretrained=nobody/nothing is neither"),
        ({"embedding": {"pretrained": "/no/such/folder"}}, r"^embedding\.pretrained=/no/such/folder is no folder"),
        ({"dataset": {"train": "/no/such.csv"}}, r"/no/such\.csv"),
        ({"reranker": {"view": {}}}, r"reranker\.view names no class"),
        ({"reranker": {"detector": {"_target_": "lrsl.nothing"}}}, r"_target_=lrsl\.nothing cannot be imported"),
        ({"reranker": {"detector": {"_target_": "lrsl.metrics"}}}, r"_target_=lrsl\.metrics is no lrsl\.Detector"),
        (
            {"reranker": {"detector": {"_target_": "lrsl.TopKVariance", "width": 3}}},
            r"detector cannot be made.*; ~reranker\.detector\.width takes that out$",
        ),
        (
            {"reranker": {"view": {"_target_": "subprocess.Popen", "args": ["false"]}}},
            "subprocess.Popen is of Python itself",
        ),
        ({"reranker": {"fusion": {"_target_": "lrsl.Sigma2Mis"}}}, r"lrsl\.Sigma2Mis is no lrsl\.Fusion"),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence_before_anything_is_trained(first, tmp_path, changes, message):
    parts = {group: replace(getattr(first.config, group), **keys) for group, keys in changes.items()}
    with pytest.raises(InputError, match=message) as caught:
        pipeline.run(replace(first.config, **parts), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results.json").exists()
    assert not (tmp_path / "classifier" / "best.ckpt").exists()


@pytest.mark.parametrize("group", ["model", "embedding"])
@pytest.mark.parametrize("inside", ["weights.gguf", "notes.txt", None])
def test_weights_are_missed_before_the_data_is_read_and_the_tracker_starts(first, tmp_path, monkeypatch, group, inside):
    for name in ("load_corpus", "Tracker"):
        monkeypatch.setattr(pipeline, name, None)
    weights = tmp_path / "weights"
    if inside:
        weights.mkdir()
        (weights / inside).write_text("GGUF" if inside.endswith(".gguf") else "nothing")
    settings = replace(getattr(first.config, group), pretrained=str(weights))
    with pytest.raises(InputError, match=rf"^{group}\.pretrained=\S+weights is (no folder here|GGUF|neither a folder)"):
        pipeline.run(replace(first.config, **{group: settings}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_summary_metrics_leave_out_what_no_sample_has(first):
    found = {**first.results, "origin": {"accuracy": 0.5, "accuracy_hard": None, "accuracy_easy": 0.5}}
    shown = outcome.summary_metrics(found)
    assert shown["test/origin_acc"] == shown["test/origin_acc_easy"] == 0.5
    assert "test/origin_acc_hard" not in shown
    assert shown["test/gain"] == first.results["significance"]["gain"]


def test_the_table_of_hard_samples_is_readable(first):
    columns, rows = outcome.hard_sample_table(first.lines)
    assert len(rows) == first.results["n_hard"]
    before = dict(zip(columns, rows[0], strict=True))["top_k_before"]
    assert before.count(";") == 2
    assert not {"text", "gold", "origin", "rerank", "hardness"} - set(columns)


def test_validation_is_measured_too(first):
    found = first.results["validation"]
    assert set(found) == {"hard_fraction", "origin", "rerank", "similarity", "fitted"}
    assert found["origin"]["accuracy_easy"] == found["rerank"]["accuracy_easy"]
    with (first.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        accuracies = [float(row["val/acc"]) for row in csv.DictReader(file) if row["val/acc"]]
    assert found["origin"]["accuracy"] == pytest.approx(max(accuracies))  # of the best epoch


def context(config, corpus, folder):
    """The context of a run that leaves everything in a folder; nothing is logged."""
    return RunContext(config, corpus, folder, SimpleNamespace(logger=None), Store(folder / "store"))


def test_the_embedding_is_that_of_its_best_checkpoint(first, corpus, tmp_path, monkeypatch):
    best_checkpoint = embedding_stage.best_checkpoint
    best = {}

    def tampered(trainer):
        path = best_checkpoint(trainer)
        saved = torch.load(path, weights_only=True)
        best.update({name: value / 2 for name, value in saved["state_dict"].items()})
        torch.save({**saved, "state_dict": best}, path)
        return path

    monkeypatch.setattr(embedding_stage, "best_checkpoint", tampered)
    config = replace(first.config, embedding=replace(first.config.embedding, negatives="all", epochs=1))
    embedding = embedding_stage.finetune_embedding(context(config, corpus, tmp_path), None)
    saved = SentenceTransformer(str(tmp_path / "embedding"), device="cpu").state_dict()
    for found in (saved, embedding.model.state_dict()):
        assert all(torch.equal(value, best[f"ranking.embedding.{name}"]) for name, value in found.items())
    assert best


def test_logits_are_those_of_the_best_checkpoint_in_the_order_of_the_split(first, corpus, tmp_path, monkeypatch):
    load_best = classifier_stage.load_best

    def spoilt(module, checkpoint):
        with torch.no_grad():
            for parameter in module.parameters():  # as if later epochs had spoilt them
                parameter.zero_()
        load_best(module, checkpoint)

    monkeypatch.setattr(classifier_stage, "load_best", spoilt)
    made = context(first.config, corpus, tmp_path)
    classifier = classifier_stage.train_classifier(made, papers_rule(first.config).rule)
    found = classifier.logits("val")

    module = classifier_stage.build_classifier(made)
    best = torch.load(tmp_path / "classifier" / "best.ckpt", weights_only=True)
    module.load_state_dict(best["state_dict"])
    samples = module.network.samples(corpus.val)
    with torch.no_grad():
        alone = [module.eval()(samples.collate([samples[row]])) for row in range(len(samples))]
    torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=1e-4)
