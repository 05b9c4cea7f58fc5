"""The examples run, and say what they promise."""

import os
import runpy
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import spark_stand_in
import tiny
import torch
from pyarrow import parquet

from lrsl import Lexical, Reranker

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "margin.py": ([], r"margin: "),
    "read_results.py": ([], "19 mended, 0 broken"),
    "tfidf.py": (["--rows", "70", "--epochs", "1"], "accuracy after:"),
}
BIG = ("rerank_datasets.py", "rerank_ray.py", "rerank_spark.py")


def test_all_examples_are_run():
    assert {*EXAMPLES, "scikit_learn.py", *BIG} == {path.name for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path, warm):
    arguments, said = EXAMPLES[name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = warm(str(ROOT / "examples" / name), *arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_the_example_of_scikit_learn_runs_on_any_folder(tiny_corpus, tiny_bert, tmp_path, warm):
    program, environment = str(ROOT / "examples" / "scikit_learn.py"), os.environ | {"PYTHONPATH": str(ROOT)}
    typed = ("--data", str(tiny_corpus), "--embedding", str(tiny_bert))
    done = warm(program, *typed, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.split(":")[0] for line in said[::3]] == ["LogisticRegression", "LinearSVC"]
    assert all(line.startswith("  gain ") and line.endswith(" on 60 texts") for line in said[1::3])
    assert all(line.startswith("  reranking o") for line in said[2::3])


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A folder with a reranker, `rows.parquet`, and what the reranker answers to these rows."""
    folder = tmp_path_factory.mktemp("rows")
    texts, labels = tiny.samples(90, 1)
    logits = torch.randn(90, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits += 1.5 * torch.eye(4, dtype=torch.float64)[labels]
    reranker = Reranker(None, tiny.LABELS, views=[Lexical()], rule="fitted", deploy="always")
    reranker.fit(logits, labels, texts, train=(*tiny.samples(120, 2), None))
    reranker.save_pretrained(folder / "my-reranker")
    parquet.write_table(pa.table({"text": texts, "logits": logits.tolist()}), folder / "rows.parquet")
    return folder, reranker.answers(logits, texts)


@pytest.mark.timeout(600)  # Ray takes minutes to start on a machine with other work
@pytest.mark.parametrize("name", BIG)
def test_an_example_of_big_data_gives_the_rerankers_answers(name, rows, tmp_path, warm, monkeypatch, capsys):
    folder, expected = rows
    out = tmp_path / ("answers.parquet" if "datasets" in name else "answers")
    typed = [str(ROOT / "examples" / name), str(folder / "my-reranker"), str(folder / "rows.parquet"), str(out)]
    if "spark" in name:
        for module, stands in spark_stand_in.module().items():
            monkeypatch.setitem(sys.modules, module, stands)
        monkeypatch.setattr(sys, "argv", typed)
        runpy.run_path(typed[0], run_name="__main__")
        said = capsys.readouterr().out
    else:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
        done = warm(*typed, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    hard = sum(answer.hard for answer in expected)
    assert f"{hard} of 90 rows are hard" in said
    found = parquet.read_table(out).to_pylist()
    answers = {row["text"]: (row["answer"], row["hard"], row["candidates"][0]["label"]) for row in found}
    assert len(found) == 90
    assert {*answers.values()} <= {(a.name, a.hard, a.candidates[0].name) for a in expected}
    assert sorted(row["answer"] for row in found) == sorted(answer.name for answer in expected)
