"""Finished runs opened again: on the texts of the test they answer as the runs did, and nothing is executed."""

import csv
import json
import pickle
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from lrsl import Reranker
from lrsl.config.schema import LoraConfig
from lrsl.data import load_corpus
from lrsl.errors import InputError
from lrsl.run import finished, pipeline
from lrsl.run.reopened import reopen, training_texts
from lrsl.run.stages.embedding import TextEmbedding


def run(config, folder):
    """Run to the end, and return what there is to compare with."""
    found = pipeline.run(config, folder)
    finished.record_finish(json.loads(json.dumps(asdict(config))), folder)
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    return SimpleNamespace(config=config, folder=folder, results=found, lines=lines)


@pytest.fixture(scope="module")
def base(tiny_corpus, tiny_bert, tmp_path_factory):
    """A configuration whose stages are kept, so that runs which differ in the reranker train once."""
    place = tmp_path_factory.mktemp("reopened")
    config = tiny.config(tiny_corpus, tiny_bert)
    return replace(config, cache=True, cache_dir=str(place / "cache")), place


@pytest.fixture(scope="module")
def first(base):
    config, place = base
    return run(config, place / "first")


def answers_as_it_did(told):
    """Check a run's answers to the texts of its test."""
    reopened = reopen(told.folder)
    texts = [line["text"] for line in told.lines]
    logits = reopened.logits(texts)
    for row, line in zip(logits, told.lines, strict=True):
        order = np.argsort(-row, kind="stable")[: len(line["top_k_before"])]
        assert [reopened.names[label] for label in order] == [name for name, _ in line["top_k_before"]]
        np.testing.assert_allclose(row[order], [value for _, value in line["top_k_before"]], rtol=0, atol=1e-5)
    answers = reopened.answers(texts)
    if "answer" in told.lines[0]:
        expected = [line["answer"] for line in told.lines]
        found = [answer.name if answer.names is None or answer.name else answer.names for answer in answers]
        assert found == expected
    else:
        assert [answer.name for answer in answers] == [line["deployed"] for line in told.lines]
    deployed = told.results["verdict"]["deployed"]
    hard = [
        line["hard"] if deployed == "rerank" or "beside" not in line else line["beside"]["fitted"]["hard"]
        for line in told.lines
    ]
    assert [answer.hard for answer in answers] == hard
    assert any(hard)
    return reopened


def test_it_answers_as_the_run_did(first):
    reopened = answers_as_it_did(first)
    texts = [line["text"] for line in first.lines]
    together = reopened.logits(texts)
    for text, row in zip(texts[:3], together, strict=False):
        np.testing.assert_allclose(reopened.logits([text])[0], row, rtol=0, atol=1e-5)
    assert reopened.logits([]).shape == (0, 4)
    assert reopened.names == tiny.LABELS
    probabilities = reopened.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert [tiny.LABELS[label] for label in probabilities.argmax(1)] == reopened.predict(texts)


@pytest.mark.parametrize(
    ("deploy", "more"),
    [
        ("origin", {}),
        ("rerank", {}),
        ("fitted", {}),
        ("rerank", {"on_hard": "abstain"}),
        ("fitted", {"on_hard": "set", "coverage": 0.8}),
    ],
)
def test_what_is_deployed_is_respected(base, first, deploy, more, tmp_path):
    config, _ = base
    told = run(replace(config, reranker=replace(config.reranker, deploy=deploy, **more)), tmp_path / "run")
    assert told.results["verdict"]["deployed"] == deploy
    reopened = answers_as_it_did(told)
    assert reopened.reranker.is_on == (deploy != "origin")
    assert reopened.reranker.report_["verdict"]["reason"] == f"reranker.deploy={deploy}"
    assert reopened.reranker.report_["n"] == told.results["n_val"]


def test_an_embedding_off_the_shelf_is_taken_from_where_it_was(base, first, tmp_path):
    config, _ = base
    told = run(replace(config, embedding=replace(config.embedding, finetune=False)), tmp_path / "run")
    answers_as_it_did(told)
    assert not (told.folder / "embedding").exists()


def test_its_training_texts_are_found(first, base, tmp_path):
    config, _ = base
    corpus = load_corpus(config.dataset, None)
    assert training_texts(first.folder) == corpus.train.texts
    text = corpus.train.texts[7]
    (near,) = reopen(first.folder).reranker.neighbours([text], 3)
    assert (near[0].row, near[0].name) == (7, corpus.labels[corpus.train.labels[7]])
    assert near[0].cosine == pytest.approx(1, abs=1e-5)
    assert [one.cosine for one in near] == sorted((one.cosine for one in near), reverse=True)
    copy = changed(first, tmp_path)
    about = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps({**about, "data": "0123456789abcdef"}))
    with pytest.raises(InputError, match="the data of the run have changed since"):
        training_texts(copy)


def test_what_views_have_learnt_is_taken_from_the_store(base, first, tmp_path, monkeypatch):
    def again(self, configured):
        raise AssertionError(configured.name)

    monkeypatch.setattr(TextEmbedding, "fitted", again)
    second = run(base[0], tmp_path / "run")
    for name in ("reranker.json", "learnt.safetensors"):
        assert (second.folder / "reranker" / name).read_bytes() == (first.folder / "reranker" / name).read_bytes()


def changed(told, tmp_path):
    return shutil.copytree(told.folder, tmp_path / "copy")


class Executed:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_nothing_in_the_folder_is_executed(first, tmp_path):
    copy = changed(first, tmp_path)
    with (copy / "classifier" / "best.ckpt").open("wb") as file:
        pickle.dump({"state_dict": Executed(str(tmp_path / "executed"))}, file)
    with pytest.raises(InputError, match=r"best\.ckpt is damaged \("):
        reopen(copy)
    (copy / "classifier" / "best.ckpt").unlink()
    torch.save({"state_dict": Executed(str(tmp_path / "executed"))}, copy / "classifier" / "best.ckpt")
    with pytest.raises(InputError, match=r"best\.ckpt is damaged \("):
        reopen(copy)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("classifier/best.ckpt", r"best\.ckpt is missing; run it again with rerun=true"),
        ("config.json", r"config\.json is missing or damaged; run it again with rerun=true"),
        ("labels.json", r"labels\.json is missing or damaged; run it again with rerun=true"),
        ("results.json", "is not the folder of a finished run, for it has no results.json"),
        ("reranker", "has kept no reranker, as runs of earlier versions have not"),
        ("embedding", "embedding is missing; run it again with rerun=true"),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(first, gone, message, tmp_path):
    place = changed(first, tmp_path) / gone
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    with pytest.raises(InputError, match=message):
        reopen(tmp_path / "copy")


def test_what_is_damaged_is_told_in_a_sentence(first, tmp_path):
    copy = changed(first, tmp_path)
    for name, content, message in (
        ("config.json", "{", "config.json is missing or damaged"),
        ("config.json", "[]", "config.json is damaged"),
        ("config.json", "{}", "config.json: the configuration cannot be read: it is none of a run's"),
        ("config.json", '{"model": {"epochs": "many"}}', "config.json: the configuration cannot be read: model.epochs"),
        ("labels.json", '{"labels": [1]}', "labels.json is missing or damaged"),
        ("results.json", '{"status": "failed", "error": "no ink"}', r"has failed \(no ink\); run it again"),
    ):
        before = (copy / name).read_bytes()
        (copy / name).unlink()  # which may be linked with the first run's
        (copy / name).write_text(content)
        with pytest.raises(InputError, match=message):
            reopen(copy)
        (copy / name).write_bytes(before)


def test_folders_of_something_else_are_refused(first, tmp_path):
    with pytest.raises(InputError, match="nowhere is no folder; name that of a finished run"):
        reopen(tmp_path / "nowhere")
    changed(first, tmp_path)
    with pytest.raises(InputError, match=r"damaged one; name one that has been finished, such as .*copy$"):
        reopen(tmp_path)
    with pytest.raises(InputError, match="is a saved reranker, which has no classifier; lrsl rerank takes it"):
        reopen(first.folder / "reranker")


def test_weights_that_have_moved_are_told_in_a_sentence(base, tiny_bert, tmp_path):
    config, _ = base
    moved = shutil.copytree(tiny_bert, tmp_path / "bert")
    told = run(replace(config, model=replace(config.model, pretrained=str(moved))), tmp_path / "run")
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"is built on .*bert, which cannot be loaded any more; put it back there \("):
        reopen(told.folder)


def test_who_is_asked_is_given_again(first, tmp_path):
    copy = changed(first, tmp_path)
    about = json.loads((copy / "config.json").read_text())
    about["reranker"] |= {"on_hard": "defer", "defer": {"_target_": "mine.ask"}}
    (copy / "config.json").write_text(json.dumps(about))
    saved = json.loads((copy / "reranker" / "reranker.json").read_text())
    saved["on_hard"]["action"] = "defer"
    (copy / "reranker" / "reranker.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="whom it asks is never kept; open it in Python with reopen"):
        reopen(copy)
    reopened = reopen(copy, defer=lambda text, candidates, scores: candidates[1])
    for answer in reopened.answers([line["text"] for line in first.lines]):
        assert not answer.hard or answer.name != answer.candidates[0].name


def test_a_reranker_that_cannot_be_kept_costs_a_sentence(base, first, tmp_path, capsys):
    config, _ = base
    rules = replace(
        config.reranker, deploy="fitted", fitted=replace(config.reranker.fitted, views=["second_classifier"])
    )
    told = run(replace(config, reranker=rules), tmp_path / "run")
    assert "The run's reranker is not kept" in capsys.readouterr().out
    with pytest.raises(InputError, match="nor those of a rule that cannot be saved"):
        reopen(told.folder)


def test_a_kept_reranker_says_that_it_needs_its_embedding(first):
    kept = first.folder / "reranker"
    again = Reranker.from_pretrained(kept, embedder=first.folder / "embedding")
    assert again.names == tiny.LABELS
    with pytest.raises(ValueError, match="has no embedding; give the one that it was fitted with"):
        Reranker.from_pretrained(kept)


def dialogues(folder):
    """Write the tiny corpus as dialogues of labels in two groups."""
    for name, n, seed in (("train", 240, 1), ("test", 60, 2)):
        texts, labels = tiny.samples(n, seed)
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = [["turns", "label", "group"]]
            for text, label in zip(texts, labels, strict=True):
                words = text.split()
                turns = f"Agent: hello [SEP] Customer: {' '.join(words[:2])} [SEP] Agent: {' '.join(words[2:])}"
                rows.append([turns, tiny.LABELS[label], "money" if label < 2 else "numbers"])
            csv.writer(file).writerows(rows)
    return folder


@pytest.mark.parametrize("kind", ["aphan", "hldic", "llm"])
def test_every_kind_of_classifier(kind, tiny_corpus, tiny_bert, tmp_path):
    place = tiny_corpus if kind == "llm" else dialogues(tmp_path)
    config = tiny.config(place, tiny_bert)
    model = replace(config.model, architecture=kind, pooling="mean" if kind == "hldic" else None, epochs=1)
    if kind == "llm":
        pretrained = str(tiny.write_llama(tmp_path / "llama"))
        model = replace(model, pretrained=pretrained, lora=LoraConfig(rank=2))
    else:
        config = replace(config, dataset=replace(config.dataset, turns="turns", group="group"))
    embedding = replace(config.embedding, finetune=False)
    told = run(replace(config, model=model, embedding=embedding), tmp_path / "run")
    reopened = answers_as_it_did(told)
    if kind == "aphan":
        assert told.results["turns"] is True
        assert reopened.function.turns
        with pytest.raises(ValueError, match="text 1 is empty"):
            reopened.logits(["card", " "])
