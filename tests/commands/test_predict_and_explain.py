"""`lrsl predict`, `lrsl explain` and `lrsl demo`: a finished run answers new texts, and says why."""

import csv
import io
import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny

from lrsl.commands import closed, completion, demo, explain, main, predict
from lrsl.data import telecom34
from lrsl.run import finished, pipeline
from lrsl.run.reopened import reopen

ROOT = Path(__file__).parents[2]
NEW = 70


@pytest.fixture(scope="module")
def run(tiny_corpus, tiny_bert, tmp_path_factory):
    """The folder of a finished run that deploys the fitted rule."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = tiny.config(tiny_corpus, tiny_bert)
    config = replace(config, reranker=replace(config.reranker, deploy="fitted"))
    pipeline.run(config, folder)
    finished.record_finish(json.loads(json.dumps(asdict(config))), folder)
    return folder


@pytest.fixture
def table(tmp_path):
    return tiny.write_csv(tmp_path / "new.csv", NEW, seed=5)


@pytest.fixture(scope="module")
def expected(run):
    """What the run says of the new texts, all at once."""
    return reopen(run).answers(tiny.samples(NEW, 5)[0])


def given_on_stdin(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def check(rows, expected):
    assert [row["row"] for row in rows] == list(range(len(expected)))
    assert [row["answer"] for row in rows] == [answer.name for answer in expected]
    assert [row["hard"] for row in rows] == [answer.hard for answer in expected]
    assert 0 < sum(row["hard"] for row in rows) < len(rows)
    for row, answer in zip(rows, expected, strict=True):
        assert [one["label"] for one in row["candidates"]] == [one.name for one in answer.candidates]
        for one, other in zip(row["candidates"], answer.candidates, strict=True):
            assert (one["before"], one["after"]) == pytest.approx((other.before, other.after), abs=1e-5)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_answers_are_those_of_the_run(run, table, expected, ending, capsys):
    out = table.with_name(f"answers.{ending}")
    assert predict.main([str(run), str(table), "--out", str(out), "--at-once", "32"]) == 0
    if ending == "csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline="")))
        for row in rows:
            row.update(row=int(row["row"]), hard=row["hard"] == "true", candidates=json.loads(row["candidates"]))
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    check(rows, expected)
    printed = capsys.readouterr()
    hard = sum(answer.hard for answer in expected)
    assert f"{NEW} rows, {hard / NEW:.1%} hard; " in printed.out
    assert f"{NEW} rows in " in printed.err
    assert sorted(path.name for path in table.parent.iterdir()) == sorted([out.name, table.name])


def test_lines_on_the_standard_input_are_answered_on_the_standard_output(run, expected, capsys, monkeypatch):
    texts = tiny.samples(NEW, 5)[0]
    given_on_stdin(monkeypatch, ("\ufeff" + "\r\n".join(texts)).encode())
    assert predict.main([str(run), "--at-once", "50"]) == 0
    printed = capsys.readouterr()
    check([json.loads(line) for line in printed.out.splitlines()], expected)
    assert f"{NEW} rows in " in printed.err


def test_a_column_of_any_name(run, tmp_path, expected, capsys):
    texts = tiny.samples(NEW, 5)[0]
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"id": row, "said": text}) + "\n" for row, text in enumerate(texts)))
    assert predict.main([str(run), str(path), "--column", "said", "--quiet"]) == 0
    printed = capsys.readouterr()
    check([json.loads(line) for line in printed.out.splitlines()], expected)
    assert printed.err == ""


KILLED = """
import io, os, signal, sys
from lrsl.commands import predict
from lrsl.plugin.output import Output
add, times = Output.add, []
def killed(self, answers):
    times.append(1)
    if len(times) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, answers)
Output.add = killed
if "--stdin" in sys.argv:
    sys.stdin = open(sys.argv.pop())
    sys.argv.pop()
predict.main(sys.argv[1:])
"""


@pytest.mark.parametrize("lines", [False, True])
def test_what_is_killed_is_taken_up_to_the_same_bytes(run, table, lines, warm, monkeypatch, capsys):
    whole, out = table.with_name("whole.csv"), table.with_name("answers.csv")
    texts = table.with_name("lines.txt")
    texts.write_text("\n".join(tiny.samples(NEW, 5)[0]) + "\n")
    words = [str(run), *([] if lines else [str(table)]), "--at-once", "16", "--out"]

    def typed(path):
        given_on_stdin(monkeypatch, texts.read_bytes())
        return predict.main([*words, str(path)])

    assert typed(whole) == 0
    more = ["--stdin", str(texts)] if lines else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = warm("-c", KILLED, *words, str(out), *more, cwd=table.parent, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert json.loads(out.with_name(f"{out.name}.part.json").read_text())["rows"] == 32
    capsys.readouterr()
    assert typed(out) == 0
    assert "going on after row 32" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()


def test_an_answer_of_another_run_is_not_taken_up(run, table, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    out.with_name(f"{out.name}.part").write_bytes(b"")
    of = {"run": ["another"]}
    out.with_name(f"{out.name}.part.json").write_text(
        json.dumps({"of": of, "rows": 1, "hard": 0, "changed": 0, "bytes": 0})
    )
    assert predict.main([str(run), str(table), "--out", str(out)]) == 1
    assert "is of other flags and run and texts; give the same, or remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        (["nowhere", "new.csv"], None, "nowhere is no folder; name that of a finished run"),
        ([".", "new.csv"], None, "is not the folder of a finished run"),
        (["RUN/reranker", "new.csv"], None, "is a saved reranker, which has no classifier; lrsl rerank takes it"),
        (["RUN", "new.csv", "--column", "txt"], None, "has no column 'txt'; name one of text, label"),
        (["RUN", "gone.csv"], None, "gone.csv"),
        (["RUN", "new.txt"], "a\n", "new.txt has the unknown ending '.txt'; use one of .csv, .tsv"),
        (["RUN", "empty.csv"], "", "empty.csv"),
        (["RUN", "empty.csv"], "text\n", "is followed by no record; the file must hold at least one"),
        (["RUN", "bad.jsonl"], '{"text": 3}\n', "bad.jsonl:1 has 3 for a text; it must be a string"),
        (["RUN", "new.csv", "--out", "a.txt"], None, "a.txt has the unknown ending '.txt'; answers are written as"),
        (["RUN", "new.csv", "--at-once", "0"], None, "--at-once is 0; it must be at least 1"),
        (["RUN", "new.csv", "--k", "9"], None, "rows 0 to 69: k is 9; with 4 classes it must be 1 to 4"),
        (["RUN"], b"", "the standard input is empty; give a text per line, or name a table"),
        (["RUN"], b"ok\n\xff\n", "line 2 of the standard input is not UTF-8; convert it"),
    ],
)
def test_predict_refuses_in_a_sentence(run, table, words, content, message, capsys, monkeypatch):
    monkeypatch.chdir(table.parent)
    if isinstance(content, bytes):
        given_on_stdin(monkeypatch, content)
    elif content is not None:
        Path(words[1]).write_text(content)
    assert predict.main([word.replace("RUN", str(run)) for word in words]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_a_run_that_has_not_finished_is_refused(run, tmp_path, table, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "results.json").unlink()
    assert explain.main([str(copy), "card"]) == 1
    assert "is not the folder of a finished run" in capsys.readouterr().err
    (copy / "results.json").write_text('{"status": "failed", "error": "no ink"}')
    assert predict.main([str(copy), str(table)]) == 1
    assert "has failed (no ink); run it again" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_one_sentence(run, table, warm):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = (
        "import os, sys; reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1); "
        "from lrsl.commands.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = warm("-c", program, "predict", str(run), str(table), "--quiet", cwd=table.parent, env=environment)
    assert (done.returncode, done.stderr) == (closed.STATUS, "the output was closed before all of it was written\n")


def hard_and_easy(expected):
    texts = tiny.samples(NEW, 5)[0]
    hard = next(row for row, answer in enumerate(expected) if answer.hard)
    easy = next(row for row, answer in enumerate(expected) if not answer.hard)
    return [(texts[row], expected[row]) for row in (hard, easy)]


def test_explain_shows_why_on_one_screen(run, expected, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for text, answer in hard_and_easy(expected):
        assert explain.main([str(run), text]) == 0
        printed = capsys.readouterr().out
        lines = printed.splitlines()
        assert len(lines) <= 40
        assert lines[0].strip() == text[:100].strip() or text.startswith(lines[0].strip())
        told = reopen(run).explain([text])[0]
        sign, kind = ("<", "hard: Margin") if answer.hard else (">=", "easy: Margin")
        assert f"{kind} {told.hardness:.4g} {sign} {told.threshold:.4g}, the threshold" in printed
        assert ("; reranked" in printed) == answer.hard
        for one in answer.candidates:
            assert f"{one.before:.3f} (" in printed
            assert f"{one.after:.3f} (" in printed
        near = reopen(run).reranker.neighbours([text], 5)[0]
        assert all(f"{one.cosine:.3f}" in printed for one in near)
        assert f"answer: {answer.name}  (probability" in printed
        assert "deployed: fitted" in lines[-1]


def test_explain_says_where_training_texts_cannot_be_had(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    about = json.loads((copy / "config.json").read_text())
    about["dataset"]["train"] = str(tmp_path / "gone.csv")
    (copy / "config.json").write_text(json.dumps(about))
    assert explain.main([str(copy), "card0 card1"]) == 0
    printed = capsys.readouterr().out
    assert "nearest training texts: not to be had, for " in printed
    assert "answer: " in printed
    assert explain.main([str(copy), "card0 card1", "--neighbours", "0"]) == 0
    assert "nearest" not in capsys.readouterr().out


def test_explain_shows_no_command_to_a_terminal(run, capsys):
    assert explain.main([str(run), "[bold]card0 \x1b[31m:smile:", "--neighbours", "0"]) == 0
    printed = capsys.readouterr().out
    assert "[bold]card0" in printed
    assert "\x1b[31m" not in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([" "], "the text is empty; give one in quotation marks"),
        (["card", "--neighbours", "-1"], "--neighbours is -1; it must be at least 0"),
        (["card", "--k", "9"], "k is 9; with 4 classes it must be 1 to 4"),
    ],
)
def test_explain_refuses_in_a_sentence(run, more, message, capsys):
    assert explain.main([str(run), *more]) == 1
    assert message in capsys.readouterr().err


def fewer(corpus):
    """Return a corpus whose calls are said in the few words that the tiny embedding knows."""

    def split(of, n, seed):
        texts, labels = tiny.samples(n, seed)
        return replace(of, ids=of.ids[:n], texts=texts, labels=labels, turns=None)

    return replace(
        corpus,
        labels=tiny.LABELS,
        label_texts=tiny.LABELS,
        train=split(corpus.train, 160, 1),
        val=split(corpus.val, 80, 2),
        test=split(corpus.test, 80, 3),
    )


def test_the_demo_shows_all_there_is(tiny_bert, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    load = telecom34.load
    monkeypatch.setattr(telecom34, "load", lambda: fewer(load()))
    monkeypatch.setattr("lrsl.fingerprint.MINILM", str(tiny_bert))
    assert demo.main([]) == 0
    printed = capsys.readouterr().out
    assert [line[:5] for line in printed.splitlines()[:4]] == [f"[{step}/4]" for step in (1, 2, 3, 4)]
    for part in (
        "accuracy on test in %",
        "all (80)",
        "origin",
        "reranked",
        "gain ",
        "true label is",
        "next, on the same corpus",
    ):
        assert part in printed
    assert "reranking on: " in printed or "reranking off: " in printed
    assert "hard: Margin " in printed
    for name in ("fit", "rerank", "run", "predict", "explain"):
        assert f"lrsl {name}" in printed
        assert name in main.COMMANDS


def test_the_demo_as_it_is_typed(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "fitting the reranker on 200 calls" in printed
    assert "origin, the classifier alone" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [predict, explain, demo])
def test_help_is_one_screen_with_an_example(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    with pytest.raises(SystemExit):
        command.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    assert any(line.startswith("example: lrsl ") for line in lines)


@pytest.mark.parametrize("command", [predict, explain])
def test_every_flag_is_completed(command):
    parser, name = command._parser(), command.__name__.rpartition(".")[2]
    flags = sorted(flag for action in parser._actions for flag in action.option_strings if flag.startswith("--"))
    assert completion.words([name, "--"]) == flags
    for action in parser._actions:
        if action.choices:
            assert completion.words([name, action.option_strings[0], ""]) == sorted(action.choices)
    assert completion.words([name, ""]) == []
