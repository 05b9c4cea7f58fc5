"""`lrsl fit` and `lrsl rerank`: files in, a verdict, answers out, taken up where they were cut off."""

import csv
import io
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from tiny import LABELS, samples, write_csv

from lrsl import Entropy, Reranker
from lrsl.commands import answering, completion
from lrsl.commands.fit import main as fit
from lrsl.commands.rerank import main as rerank
from lrsl.data.logits import look_at
from lrsl.errors import InputError
from lrsl.plugin.answers import Answer, Candidate
from lrsl.plugin.output import Output
from lrsl.text import from_cell

ROOT = Path(__file__).parents[2]


def logits(labels, seed):
    """What a mediocre classifier says."""
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed)).numpy()
    return noise + 1.5 * np.eye(4, dtype=np.float32)[labels]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files as people have them: logits and texts of held-out, training and new rows."""
    folder = tmp_path_factory.mktemp("files")
    for name, n, seed in (("val", 90, 1), ("train", 120, 2), ("test", 70, 3)):
        write_csv(folder / f"{name}.csv", n, seed)
        np.savez(folder / f"{name}.npz", logits=logits(samples(n, seed)[1], seed), classes=np.array(LABELS))
    np.save(folder / "test.npy", np.load(folder / "test.npz")["logits"])
    return folder


@pytest.fixture(scope="module")
def saved(files, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "mine"
    typed = ["--logits", files / "val.npz", "--texts", files / "val.csv", "--train", files / "train.csv"]
    assert fit([*map(str, typed), "--embedding", str(tiny_bert), "--out", str(folder), "finetune=false"]) == 0
    return folder


def reranked(saved, files, out, *more, given="test.npy", texts="test.csv"):
    typed = ["--logits", str(files / given), "--texts", str(files / texts), "--out", str(out), "--at-once", "16"]
    return rerank([str(saved), *typed, *more])


def test_fit_says_how_many_texts_are_embedded(files, tiny_bert, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(answering, "EVERY", 0.0)
    typed = ["--logits", files / "val.npz", "--texts", files / "val.csv", "--train", files / "train.csv"]
    command = [*map(str, typed), "--embedding", str(tiny_bert), "--out", str(tmp_path / "out"), "finetune=false"]
    assert fit(command) == 0
    told = re.findall(r"(\d+) texts embedded, ", capsys.readouterr().err)
    assert int(told[-1]) >= 90 + 120


def test_fit_says_what_the_class_says(files, tiny_bert, tmp_path, capsys):
    typed = [
        "--logits",
        files / "val.npz",
        "--texts",
        files / "val.csv",
        "--embedding",
        tiny_bert,
        "--out",
        tmp_path / "a",
    ]
    more = ["--rule", "paper", "--power", "2", "--k", "2", "--detector", "Entropy", "--on-hard", "abstain"]
    assert fit([*map(str, typed), *more]) == 0
    printed = capsys.readouterr().out
    texts, labels = samples(90, 1)
    expected = Reranker(str(tiny_bert), LABELS, k=2, power=2.0, on_hard="abstain", detector=Entropy())
    expected.fit(logits(labels, 1), labels, texts)
    assert expected.report_["verdict"]["reason"] in printed
    assert not expected.report_["verdict"]["deploy"]
    assert "hard rows are reranked all the same; with --deploy auto " in printed
    assert f"next: lrsl rerank {tmp_path / 'a'} " in printed
    again = Reranker.from_pretrained(tmp_path / "a")
    assert again.report_ == expected.report_
    assert (again.names, again.on_hard, again.power) == (LABELS, "abstain", 2)


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "jsonl", "named.jsonl", "parquet", "named.parquet"])
def test_logits_are_read_from_any_kind_of_file(files, kind, tmp_path):
    values = np.load(files / "test.npy")
    path = tmp_path / f"logits.{kind}"
    rows = [dict(zip(LABELS, row, strict=True)) for row in values.tolist()]
    match kind:
        case "npy":
            np.save(path, values)
        case "npz":
            np.savez_compressed(path, values)
        case "safetensors":
            save_file({"logits": values, "other": values[:, 0].copy()}, path)
        case "jsonl":
            path.write_text("".join(json.dumps({"logits": row}) + "\n\n" for row in values.tolist()))
        case "named.jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "parquet":
            pq.write_table(pa.table({"logits": values.tolist(), "id": range(70)}), path)
        case "named.parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    file = look_at(path)
    assert file.rows == 70
    assert file.names == (LABELS if kind.startswith("named") else None)
    np.testing.assert_array_equal(file.all(), values)
    chunks = list(file.chunks(16, start=32))
    assert [len(chunk) for chunk in chunks] == [16, 16, 6]
    np.testing.assert_array_equal(np.concatenate(chunks), values[32:])


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_answers_are_those_of_the_class(saved, files, ending, tmp_path, capsys):
    out = tmp_path / f"answers.{ending}"
    assert reranked(saved, files, out) == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if ending == "csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline="")))
        for row in rows:
            row.update(row=int(row["row"]), hard=row["hard"] == "true", candidates=json.loads(row["candidates"]))
    elif ending == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(out).to_pylist()
    reranker, values, texts = Reranker.from_pretrained(saved), np.load(files / "test.npy"), samples(70, 3)[0]
    assert [row["row"] for row in rows] == list(range(70))
    assert [row["answer"] for row in rows] == [LABELS[label] for label in reranker.predict(values, texts)]
    assert [row["hard"] for row in rows] == reranker.is_hard(values).tolist()
    assert 0 < sum(row["hard"] for row in rows) < 70
    before, after = torch.from_numpy(values).softmax(-1), reranker.rerank(values, texts)
    for row in rows:
        for one in row["candidates"]:
            label = LABELS.index(one["label"])
            assert one["before"] == pytest.approx(before[row["row"], label].item(), rel=1e-5)
            assert one["after"] == pytest.approx(after[row["row"], label], rel=1e-5)
    changed = sum(row["answer"] != LABELS[label] for row, label in zip(rows, values.argmax(-1), strict=True))
    assert f"70 rows, {sum(row['hard'] for row in rows) / 70:.1%} hard; {changed} answers" in capsys.readouterr().out


KILLED = """
import os, signal, sys
from lrsl.commands.rerank import main
from lrsl.plugin.output import Output
add, note, times = Output.add, Output._note, []
def killed(self, answers):
    times.append(1)
    if len(times) == 3:
        if sys.argv[1] == "while writing":
            self._note = lambda: os.kill(os.getpid(), signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    add(self, answers)
Output.add = killed
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("ending", "when"), [("jsonl", "between"), ("csv", "while writing"), ("parquet", "between")])
def test_what_is_killed_is_taken_up_to_the_same_bytes(saved, files, ending, when, tmp_path, warm, capsys):
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"answers.{ending}"
    assert reranked(saved, files, whole) == 0
    arguments = ["--logits", str(files / "test.npy"), "--texts", str(files / "test.csv"), "--at-once", "16"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = warm("-c", KILLED, when, str(saved), *arguments, "--out", str(out), cwd=tmp_path, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    noted = json.loads(out.with_name(f"{out.name}.part.json").read_text())
    assert noted["rows"] == 32
    assert out.with_name(f"{out.name}.part").stat().st_size >= noted["bytes"]
    capsys.readouterr()
    assert reranked(saved, files, out, given="test.npz") == 1
    assert "is of other logits; give the same, or remove it and answers" in capsys.readouterr().err
    assert reranked(saved, files, out, "--k", "2") == 1
    assert "is of other flags; give the same" in capsys.readouterr().err
    assert reranked(saved, files, out) == 0
    assert "going on after row 32" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, whole.name])
    assert reranked(saved, files, out) == 1
    assert "is there already; name another file, or remove it" in capsys.readouterr().err


def test_what_is_killed_while_it_cleans_up_is_whole(tmp_path):
    out = tmp_path / "answers.jsonl"
    with Output.opened(out, {"logits": "a"}, 1) as output:
        output.add([Answer("loan", False, [Candidate(2, "loan", 0.4, 0.4)])])
        output._file.close()
        (tmp_path / "answers.jsonl.part").replace(out)
    with Output.opened(out, {"logits": "a"}, 1) as output:
        assert output.whole
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_part_without_a_row_is_begun_anew_with_other_flags(saved, files, ending, tmp_path):
    out, whole = tmp_path / f"answers.{ending}", tmp_path / f"whole.{ending}"
    out.with_name(f"{out.name}.part").write_text("row,answer,hard,labels,candidates\n")
    noted = {"of": {"flags": {"k": 9}}, "rows": 0, "hard": 0, "changed": 0, "bytes": 34}
    out.with_name(f"{out.name}.part.json").write_text(json.dumps(noted))
    for path in (out, whole):
        assert reranked(saved, files, path) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [out, whole]


def test_no_spreadsheet_computes_an_answer(tmp_path):
    out = tmp_path / "answers.csv"
    with Output.opened(out, {}, 1) as output:
        output.add([Answer("=1+1", True, [Candidate(0, "=1+1", 0.4, 0.5)], ["=1+1"])])
        output.finish()
    (row,) = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"), newline=""))
    assert (row["answer"], from_cell(row["answer"])) == ("'=1+1", "=1+1")
    assert json.loads(row["labels"]) == ["=1+1"]


def test_two_do_not_write_one_file(tmp_path):
    with (
        Output.opened(tmp_path / "answers.csv", {}, 1),
        pytest.raises(ValueError, match="is being written by another process"),
        Output.opened(tmp_path / "answers.csv", {}, 1),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": "val.csv"}, "has 70 rows of logits, and "),
        ({"given": "test.csv"}, "has the unknown ending '.csv'; logits are read from .npy"),
        ({"out": "answers.txt"}, "has the unknown ending '.txt'; answers are written as .csv, .jsonl, .parquet"),
        ({"out": "nowhere/answers.csv"}, "nowhere is no folder; make it"),
        ({"saved": "nobody"}, "nobody is no folder; name one that lrsl fit has saved"),
        ({"more": ["--text-key", "txt"]}, "has no column 'txt'; name one of text, label with --text-key; did you mean"),
        ({"more": ["--at-once", "0"]}, "--at-once is 0; it must be at least 1"),
        ({"more": ["--k", "9"]}, "rows 0 to 15: k is 9; with 4 classes it must be 1 to 4"),
        ({"more": ["--k", "9"], "out": "a.csv"}, "rows 0 to 15: k is 9; with 4 classes it must be 1 to 4"),
    ],
)
def test_rerank_refuses_in_a_sentence(saved, files, change, message, tmp_path, capsys):
    folder = Path(change["saved"]) if "saved" in change else saved
    names = {name: change[name] for name in ("given", "texts") if name in change}
    assert reranked(folder, files, tmp_path / change.get("out", "a.jsonl"), *change.get("more", []), **names) == 1
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def typed(files, tiny_bert, tmp_path, **changed):
    given = {"logits": files / "val.npz", "texts": files / "val.csv", "embedding": tiny_bert, "out": tmp_path / "mine"}
    given |= changed
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_labels_and_names_may_be_files_and_numbers(files, tiny_bert, tmp_path, capsys):
    labels = samples(90, 1)[1]
    np.save(tmp_path / "labels.npy", np.array(labels))
    np.save(tmp_path / "val.npy", logits(labels, 1))
    (tmp_path / "names.txt").write_text("\n".join(LABELS) + "\n")
    (tmp_path / "meant.yaml").write_text("card: a card\nrate: an exchange rate\n")
    (tmp_path / "listed.json").write_text(json.dumps([f"the {name}" for name in LABELS]))
    numbered = {"logits": tmp_path / "val.npy", "labels": tmp_path / "labels.npy"}
    assert fit(typed(files, tiny_bert, tmp_path, **numbered)) == 1
    assert "labels are numbers; say what they mean with --label-texts" in capsys.readouterr().err
    assert fit(typed(files, tiny_bert, tmp_path, **numbered, label_texts=tmp_path / "listed.json")) == 0
    assert Reranker.from_pretrained(tmp_path / "mine").label_texts == [f"the {name}" for name in LABELS]
    named = {"logits": tmp_path / "val.npy", "names": tmp_path / "names.txt", "label_texts": tmp_path / "meant.yaml"}
    assert fit(typed(files, tiny_bert, tmp_path, **named, out=tmp_path / "named")) == 0
    again = Reranker.from_pretrained(tmp_path / "named")
    assert (again.names, again.label_texts) == (LABELS, ["a card", "cash", "loan", "an exchange rate"])
    assert "alphabetical" not in capsys.readouterr().out
    assert fit(typed(files, tiny_bert, tmp_path, logits=tmp_path / "val.npy", out=tmp_path / "sorted")) == 0
    assert "taken to be the labels in alphabetical order" in capsys.readouterr().out


def test_numbers_of_columns_in_a_table_serve_beside_names(files, tiny_bert, tmp_path):
    with (files / "val.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "numbered.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerows([["text", "label"], *([row["text"], LABELS.index(row["label"])] for row in rows)])
    given = {"train": files / "train.csv", "views": "[Lexical]"}  # whose labels are names
    assert fit([*typed(files, tiny_bert, tmp_path, **given), "finetune=false"]) == 0
    numbered = given | {"texts": tmp_path / "numbered.csv", "out": tmp_path / "other"}
    assert fit([*typed(files, tiny_bert, tmp_path, **numbered), "finetune=false"]) == 0
    expected, found = (Reranker.from_pretrained(tmp_path / name) for name in ("mine", "other"))
    assert (found.report_, found.names) == (expected.report_, LABELS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": (3, 4), "other": (3, 4)}, "has nothing called 'logits'; name one of "),
        ({"logits": (3,)}, "holds an array of shape (3,); logits are a matrix"),
        ({"logits": (3, 4), "classes": (2, 2)}, "holds classes of shape (2, 2); they are"),
        ({"logits": "turned"}, "holds its columns one after the other"),
        ({"logits": "objects"}, "holds Python objects; write numbers"),
        ({"logits": (3, 4), "classes": "objects"}, "holds classes that are Python objects; write them as strings"),
    ],
)
def test_what_is_wrong_with_arrays_is_said_as_it_is(arrays, message, tmp_path):
    special = {"turned": np.zeros((4, 3)).T, "objects": np.zeros((3, 4), dtype=object)}
    given = {name: special[what] if isinstance(what, str) else np.zeros(what) for name, what in arrays.items()}
    np.savez(tmp_path / "logits.npz", **{"classes": np.array(list("abcd"))} | given)
    with pytest.raises(InputError) as refused:
        look_at(tmp_path / "logits.npz")
    assert message in str(refused.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_arrays_are_one_sentence(save, tmp_path):
    path = tmp_path / "logits.npz"
    save(path, logits=np.random.default_rng(0).normal(size=(900, 4)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"logits.npz cannot be read \(.+\); write it anew with numpy.savez$"):
        look_at(path).all()


def test_a_label_that_is_none_is_shown_where_it_stands(files, tiny_bert, tmp_path, capsys):
    lines = (files / "val.csv").read_text().splitlines()
    at = next(number for number, line in enumerate(lines, 1) if line.endswith(",card"))
    lines[at - 1] = lines[at - 1][:-4] + "crad"
    for name, content in (("val.csv", lines), ("names.txt", LABELS)):
        (tmp_path / name).write_text("\n".join(content) + "\n")
    np.save(tmp_path / "val.npy", np.load(files / "val.npz")["logits"])
    given = {"texts": tmp_path / "val.csv", "embedding": tiny_bert}
    assert fit(typed(files, tiny_bert, tmp_path, **given)) == 1
    none = f"{tmp_path / 'val.csv'}:{at} has the label 'crad', which is none of the 4 names in "
    hint = "; did you mean 'card'?\n"
    assert capsys.readouterr().err == f"{none}{files / 'val.npz'}{hint}"
    assert fit(typed(files, tiny_bert, tmp_path, **given, names=tmp_path / "names.txt")) == 1
    assert capsys.readouterr().err == f"{none}--names {tmp_path / 'names.txt'}{hint}"
    assert fit(typed(files, tiny_bert, tmp_path, **given, logits=tmp_path / "val.npy")) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path / 'val.npy'} has 4 columns, and there are 5 labels; every label needs a column, and the rarest, "
        f"'crad' at {tmp_path / 'val.csv'}:{at}, may be a typo{hint}"
    )
    np.save(tmp_path / "val.npy", np.zeros((90, 7)))
    assert fit(typed(files, tiny_bert, tmp_path, **given, logits=tmp_path / "val.npy")) == 1
    assert "there are 5 labels; name all, in the order of the columns, with --names\n" in capsys.readouterr().err
    labels = np.array([line.rpartition(",")[2] for line in lines[1:]])
    np.save(tmp_path / "labels.npy", labels)
    assert fit(typed(files, tiny_bert, tmp_path, labels=tmp_path / "labels.npy")) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'labels.npy'}, row {at - 1} has the label 'crad', which")


def test_of_equals_the_first_is_the_classifier_s(tmp_path):
    tied = [Candidate(2, "loan", 0.4, 0.5), Candidate(0, "card", 0.4, 0.3)]
    with Output.opened(tmp_path / "answers.jsonl", {}, 2) as output:
        output.add([Answer("loan", True, tied), Answer("card", False, tied)])
        assert (output.hard, output.changed) == (1, 1)


def test_fit_warns_in_a_sentence(files, tiny_bert, tmp_path, capsys):
    (tmp_path / "long.json").write_text(json.dumps(["card " * 600, *LABELS[1:]]))
    assert fit(typed(files, tiny_bert, tmp_path, label_texts=tmp_path / "long.json")) == 0
    err = capsys.readouterr().err
    assert "warning: 1 of the label texts are longer than the " in err
    assert "Warning:" not in err


def test_answers_of_another_backend_are_not_mixed(saved, files, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(Reranker, "from_pretrained", lambda folder, **more: asked.append(more) or 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            reranked(saved, files, tmp_path / "a.csv", "--backend", "onnx")
    assert asked == [{"backend": "onnx"}] * 2
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(Output, "finish", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reranked(saved, files, tmp_path / "a.csv", "--backend", "torch")
    assert reranked(saved, files, tmp_path / "a.csv", "--backend", "onnx") == 1
    assert "is of other flags; give the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"texts": "test.csv"}, "val.npz has 90 rows of logits, and there are 70 texts"),
        ({"views": "[SecondClassifier]"}, "--views SecondClassifier asks another classifier, which no command can be"),
        ({"views": "[]"}, "--views [] names none; leave it out for those of the rule, or name one"),
        ({"views": "[Lexical]"}, "this view learns from training rows, and there are none; give train="),
        ({"threshold": "Fixed"}, "--threshold Fixed: lrsl.Fixed does not take these settings ("),
        ({"threshold": "{Budget: {share: abc}}"}, "--threshold Budget: lrsl.Budget does not take share, abc\n"),
        ({"labels": "labl"}, "has no column 'labl'; name one of text, label with --labels; did you mean 'label'?"),
        ({"power": "2"}, "--power is the paper's exponent and has no effect here; give it with --rule paper, alone"),
        ({"detector": "Margn"}, "--detector Margn is unknown; use one of TopKVariance, Margin, "),
        ({"views": "[Lexical: {strength: 0}]"}, "--views Lexical: strength is 0; it must be above 0"),
        ({"fusion": "Margin"}, "--fusion Margin is unknown; use one of Paper, "),
        ({"train_logits": "val.npz"}, "--train-logits has no effect without --train"),
        ({"names": "turned.txt"}, "the classifier calls column 0 of its logits 'card', and label_texts have that at 3"),
        ({"logits": "turned.npy"}, "the columns of logits are in another order than the label texts"),
    ],
)
def test_fit_refuses_in_a_sentence(files, tiny_bert, tmp_path, changed, message, capsys):
    (files / "turned.txt").write_text("\n".join(LABELS[::-1]))
    np.save(files / "turned.npy", np.load(files / "val.npz")["logits"][:, ::-1].copy())
    paths = {n: files / v if n in ("texts", "train_logits", "names", "logits") else v for n, v in changed.items()}
    assert fit(typed(files, tiny_bert, tmp_path, **paths)) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(saved, files, tiny_bert, tmp_path, capsys):
    assert fit(typed(files, tiny_bert, tmp_path, out=saved)) == 1
    assert "is there already; name another folder, or remove it" in capsys.readouterr().err


def test_a_place_where_nothing_can_be_saved_is_refused_before_anything_is_learnt(
    files, tiny_bert, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Reranker, "fit", lambda *_, **__: 1 / 0)
    assert fit(typed(files, tiny_bert, tmp_path, out=files / "val.csv" / "mine")) == 1
    assert "val.csv (Not a directory); name another folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [fit, rerank])
def test_help_is_one_screen_with_an_example(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    with pytest.raises(SystemExit):
        command(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    assert any(line.startswith("example: lrsl ") for line in lines)


@pytest.mark.parametrize("command", ["fit", "rerank"])
def test_every_flag_is_completed(command, capsys):
    from lrsl.commands import fit as fits
    from lrsl.commands import rerank as reranks

    parser = {"fit": fits, "rerank": reranks}[command]._parser()
    flags = sorted(flag for action in parser._actions for flag in action.option_strings if flag.startswith("--"))
    assert completion.words([command, "--"]) == flags
    for action in parser._actions:
        if action.choices:
            assert completion.words([command, action.option_strings[0], ""]) == sorted(action.choices)
    assert completion.words([command, "--texts", ""]) == []
