"""The examples run, and say what they promise."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "margin.py": ([], r"margin: "),
    "read_results.py": ([], "19 mended, 0 broken"),
    "tfidf.py": (["--rows", "70", "--epochs", "1"], "accuracy after:"),
}


def test_all_examples_are_run():
    assert sorted([*EXAMPLES, "scikit_learn.py"]) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


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
