"""The pages on finished runs are true: commands are typed as they stand, Python runs."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import tiny

from lrsl.commands import main
from lrsl.run import finished, pipeline

PAGES = Path(__file__).parents[1] / "docs" / "how-to"


def blocks(page, language):
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tiny_corpus, tiny_bert, tmp_path, monkeypatch):
    """A folder with a finished run and new texts."""
    monkeypatch.chdir(tmp_path)
    config = tiny.config(tiny_corpus, tiny_bert)
    pipeline.run(config, Path("my-run"))
    finished.record_finish(json.loads(json.dumps(asdict(config))), Path("my-run"))
    tiny.write_csv(tmp_path / "texts.csv", 40, seed=3)
    (tmp_path / "texts.txt").write_text("\n".join(tiny.samples(40, 3)[0]))
    return tmp_path


def test_the_pages_on_finished_runs(folder, monkeypatch, capsys):
    first, second = (block.strip() for block in blocks("predict.md", "bash"))
    assert main.main(shlex.split(first)[1:]) == 0, capsys.readouterr().err
    capsys.readouterr()
    told, typed, out = re.fullmatch(r"cat (\S+) \| (.*) > (\S+)", second).groups()
    with (folder / told).open(encoding="utf-8") as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert main.main(shlex.split(typed)[1:]) == 0
    assert out != "texts.txt"
    assert capsys.readouterr().out == (folder / "answers.jsonl").read_text(encoding="utf-8")
    names = {"texts": tiny.samples(5, 4)[0]}
    exec(compile(blocks("predict.md", "python")[0], "predict.md", "exec"), names)
    assert set(names["run"].predict(names["texts"])) <= set(tiny.LABELS)
    capsys.readouterr()
    (explain,) = blocks("explain.md", "bash")
    assert main.main(shlex.split(explain.strip())[1:]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    for part in ("the threshold", "candidates", "nearest training texts", "answer: ", "deployed: "):
        assert part in printed


def test_the_page_on_the_demo_names_a_command():
    (typed,) = blocks("demo.md", "bash")
    assert typed.split() == ["lrsl", "demo"]
    assert "demo" in main.COMMANDS
