"""The pages on a classifier somebody has are true: commands are typed as they stand, Python runs."""

import re
import shlex
from pathlib import Path

import hub_stand_in
import numpy as np
import pytest
import spark_stand_in
import tiny
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import lrsl
from lrsl.commands import main

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def blocks(page, language):
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def run(page, number, embedding, names):
    code = blocks(page, "python")[number].replace(MINILM, str(embedding))
    exec(compile(code, page, "exec"), names)
    return names


def logits(labels, seed):
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed)).numpy()
    return noise + 2 * np.eye(4, dtype=np.float32)[labels]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, n, seed in (("val", 90, 1), ("train", 120, 2), ("test", 40, 3)):
        values = logits(tiny.samples(n, seed)[1], seed)
        tiny.write_csv(tmp_path / f"{name}.csv", n, seed)
        np.savez(tmp_path / f"{name}.npz", logits=values, classes=np.array(tiny.LABELS))
        np.save(tmp_path / f"{name}.npy", values)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_are_typed_as_they_stand(folder, tiny_bert, capsys):
    typed = [line for page in ("fit.md", "rerank.md") for block in blocks(page, "bash") for line in block.splitlines()]
    assert [line.split()[1] for line in typed] == ["fit", "fit", "rerank"]
    for line in typed:
        assert main.main(shlex.split(line.replace(MINILM, str(tiny_bert)))[1:]) == 0, capsys.readouterr().err
    assert (folder / "words-only" / "reranker.json").is_file()
    capsys.readouterr()
    run("rerank.md", 0, tiny_bert, {})
    answer, hard, before, after = capsys.readouterr().out.split()
    assert (answer in tiny.LABELS, hard in ("True", "False")) == (True, True)
    assert 0 < float(before) <= 1 >= float(after) > 0


def test_scikit_learn(tiny_bert, capsys):
    texts, labels = tiny.samples(80, 1)
    names = {"texts": texts, "labels": [tiny.LABELS[label] for label in labels], "new": tiny.samples(20, 2)[0]}
    run("scikit-learn.md", 0, tiny_bert, names)
    assert set(names["answers"]) <= set(tiny.LABELS)
    assert capsys.readouterr().out.startswith("reranking o")
    run("scikit-learn.md", 1, tiny_bert, names)
    assert names["search"].best_params_["views__0__strength"] == 10.0
    run("scikit-learn.md", 2, tiny_bert, names)
    assert set(names["few"].predict(names["new"])) <= set(tiny.LABELS)
    assert names["few"].estimator_[0].transform(names["new"]).shape[0] == 20


def test_transformers(folder, tiny_bert, monkeypatch, capsys):
    def made(task, name):
        torch.manual_seed(0)
        labels = dict(enumerate(tiny.LABELS))
        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=4, id2label=labels)
        return pipeline(task, model=model.eval(), tokenizer=AutoTokenizer.from_pretrained(tiny_bert))

    monkeypatch.setattr("transformers.pipeline", made)
    rows = {name: tiny.samples(n, n) for name, n in (("val", 60), ("train", 80))}
    names = {f"{name}_{part}": of[i] for name, of in rows.items() for i, part in enumerate(("texts", "labels"))}
    names["texts"] = tiny.samples(9, 4)[0]
    run("transformers.md", 0, tiny_bert, names)
    said = capsys.readouterr().out
    assert said.startswith("reranking o")
    assert "'label': '" in said
    run("transformers.md", 1, tiny_bert, names)
    assert names["again"](names["texts"]) == names["reranked"](names["texts"])


def test_any_function(tiny_bert, capsys):
    val, new = tiny.samples(60, 1), tiny.samples(5, 2)
    known = {text: row for of in (val, new) for text, row in zip(of[0], logits(of[1], 7), strict=True)}
    names = {"val_texts": val[0], "val_labels": val[1], "texts": new[0], "label_texts": tiny.LABELS}
    run("any-function.md", 0, tiny_bert, names | {"ask": lambda texts: [known[text].tolist() for text in texts]})
    lines = capsys.readouterr().out.splitlines()
    assert "reranking o" in lines[0]
    assert [line.split()[0] in tiny.LABELS for line in lines[1:6]] == [True] * 5
    assert lines[7].startswith("answer: ")


def test_sharing_on_the_hub(tmp_path, monkeypatch):
    there = hub_stand_in.put(monkeypatch, tmp_path)
    texts, labels = tiny.samples(60, 1)
    reranker = lrsl.Reranker(None, tiny.LABELS, views=[lrsl.Lexical()], rule="fitted")
    reranker.fit(logits(labels, 1), labels, texts, train=(*tiny.samples(80, 2), None))
    run("hub.md", 0, "", {"reranker": reranker})
    assert [*there.repositories] == ["me/my-reranker"]
    names = run("hub.md", 1, "", {"logits": logits(labels, 3), "texts": texts})
    assert names["labels"].tolist() == reranker.predict(logits(labels, 3), texts).tolist()


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Rows as a data set, what a reranker in my-reranker answers to them, and its folder."""
    texts, labels = tiny.samples(60, 1)
    reranker = lrsl.Reranker(None, tiny.LABELS, views=[lrsl.Lexical()], rule="fitted")
    reranker.fit(logits(labels, 1), labels, texts, train=(*tiny.samples(80, 2), None))
    monkeypatch.chdir(tmp_path)
    reranker.save_pretrained("my-reranker")
    made = Dataset.from_dict({"text": texts, "logits": logits(labels, 3).tolist()})
    return made, [answer.name for answer in reranker.answers(made["logits"], texts)]


def test_big_data_in_datasets(rows):
    answered = run("big-data.md", 0, "", {"rows": rows[0]})["answered"]
    assert answered["answer"] == rows[1]


def test_big_data_in_spark(rows):
    pages = blocks("big-data.md", "python")[2].replace("/shared/", "")
    names = {"rows": spark_stand_in.Frame(rows[0].data.table)}
    exec(compile(pages, "big-data.md", "exec"), names)
    assert names["answered"].table["answer"].to_pylist() == rows[1]


def test_big_data_in_ray_is_as_the_example_has_it():
    page, example = blocks("big-data.md", "python")[1], (PAGES.parents[1] / "examples/rerank_ray.py").read_text()
    (of_page,) = re.findall(r"map_batches\((.*?)\n\)", page, flags=re.DOTALL)
    (of_example,) = re.findall(r"map_batches\((.*?)\n    \)", example, flags=re.DOTALL)
    given = of_page.replace('"/shared/my-reranker"', "chosen.reranker").replace("size=2", "size=chosen.actors")
    assert given.split() == of_example.split()


def test_log_probabilities_are_logits_but_for_a_number_per_row():
    values = torch.from_numpy(logits(tiny.samples(50, 1)[1], 1)).double()
    for detector in (lrsl.TopKVariance(3), lrsl.Margin()):
        torch.testing.assert_close(detector(values), detector(values.log_softmax(-1)))


def test_faster_answers(folder, tiny_bert, monkeypatch, capsys):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extra onnx is not installed")
    texts, labels = tiny.samples(90, 1)
    names = {"label_texts": tiny.LABELS, "val_texts": texts, "val_labels": labels, "val_logits": logits(labels, 1)}
    names |= {"texts": tiny.samples(40, 3)[0], "logits": logits(tiny.samples(40, 3)[1], 3)}
    run("fast-inference.md", 0, tiny_bert, names)
    assert (folder / "quick-reranker" / "onnx" / "model.onnx").is_file()
    run("fast-inference.md", 1, tiny_bert, names)
    assert float(capsys.readouterr().out.split()[-1]) < 0.2
    torch.manual_seed(0)
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=4)
    trained = torch.tensor(labels)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    batch, optimizer = (
        tokenizer(texts, padding=True, return_tensors="pt"),
        torch.optim.Adam(classifier.parameters(), 1e-2),
    )
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(**batch).logits, trained).backward()
        optimizer.step()
    classifier.save_pretrained("my-classifier")
    tokenizer.save_pretrained("my-classifier")
    (folder / "my-embedding").symlink_to(tiny_bert)
    run("fast-inference.md", 2, tiny_bert, names)
    answers = names["reranked"].predict(texts)
    assert np.mean([tiny.LABELS[label] == answer for label, answer in zip(labels, answers, strict=True)]) > 0.5
