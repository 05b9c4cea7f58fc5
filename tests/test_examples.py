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
    assert sorted(EXAMPLES) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path, warm):
    arguments, said = EXAMPLES[name]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = warm(str(ROOT / "examples" / name), *arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
