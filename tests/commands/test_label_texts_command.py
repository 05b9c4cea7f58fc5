"""The command that has a language model write label texts: its file, its refusals, and what an interruption leaves."""

import csv
import json
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from hydra import compose, initialize_config_dir

from lrsl.commands import label_texts, label_writer
from lrsl.commands.label_texts import main
from lrsl.config import composition
from lrsl.config.composition import CONF
from lrsl.data import Corpus, Split, load_corpus
from lrsl.stopping import Stopped

TWEETS = {"negative": "so sad", "neutral": "at the station", "positive": "what a lovely day"}
AWKWARD = ["01", "yes", "null", "a: b", "余额_查询", "# c", "True"]


def write_rows(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def tsec(tmp_path: Path) -> str:
    """A slice of TSEC-3's shape, whose test texts are told from the training ones."""
    for name in ("train", "test"):
        rows = [[str(i), f"{name} {text} {i}", label] for i in range(6) for label, text in TWEETS.items()]
        write_rows(tmp_path / "tsec" / f"{name}.csv", [["textID", "text", "sentiment"], *rows])
    return f"data_dir={tmp_path}"


@pytest.fixture
def awkward(tmp_path: Path) -> list[str]:
    for name in ("train", "test"):
        rows = [[f"{name} {i}", label] for i in range(4) for label in AWKWARD]
        write_rows(tmp_path / f"{name}.csv", [["text", "label"], *rows])
    return ["dataset=custom", "dataset.train=train.csv", "dataset.test=test.csv", f"data_dir={tmp_path}"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "label_texts.yaml"


class Scripted:
    """Stands in for a language model: says what it is told to, and remembers what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def check_length(self, prompts: list[str]) -> None:
        self.asked = list(prompts)

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt: str) -> str:
        found = re.search(r"^This is about the label (.*)\.$", prompt, re.MULTILINE)
        assert found
        answer = next(answer for label, answer in self.answers.items() if found[1].startswith(label))
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Scripted]:
    def install(answers: dict[str, Any]) -> Scripted:
        scripted = Scripted(answers)
        monkeypatch.setattr(label_writer, "load_language_model", lambda *_, **__: scripted)
        monkeypatch.setattr(label_texts, "_separation", lambda *_: None)
        return scripted

    return install


def corpus(*overrides: str) -> Corpus:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = composition.to_config(compose("config", list(overrides)))
    return load_corpus(config.dataset, config.data_dir)


def test_the_file(tsec: str, out: Path, script: Callable[..., Scripted], capsys: pytest.CaptureFixture[str]) -> None:
    script({"negative": "Sad tweets. Or so.", "neutral": "Description: dry tweets.", "positive": "sad tweets."})
    overrides = ["dataset=tsec3", tsec, "dataset.label_texts=null"]
    assert main([*overrides, "llm=some/model", f"out={out}"]) == 0
    assert out.read_text(encoding="utf-8") == (
        "# Label texts of tsec3, written by the language model some/model.\n"
        "# Read and edit them: each should tell texts with its label from all others.\n"
        "#\n"
        f"#   python run.py dataset=tsec3 {tsec} dataset.label_texts={out}\n"
        "\n"
        "negative: Sad tweets.\n"
        "neutral: dry tweets.\n"
        "# the answer was the text of another label, so the present text is kept\n"
        "positive: positive\n"
    )
    assert capsys.readouterr().out == (
        "label texts, 1/3: negative\nlabel texts, 2/3: neutral\nlabel texts, 3/3: positive\n"
        f"{out} has 3 label texts (1 as before, and a comment says why; 1 times the answer was the text of another "
        "label; 1 cut to the first sentence); read and edit them, then\n"
        f"  python run.py dataset=tsec3 {tsec} dataset.label_texts={out}\n"
    )
    assert corpus("dataset=tsec3", tsec, f"dataset.label_texts={out}").label_texts == [
        "Sad tweets.",
        "dry tweets.",
        "positive",
    ]


def test_the_command_in_the_file_uses_it(tsec: str, out: Path, script: Callable[..., Scripted]) -> None:
    script({label: f"All of kind {i}." for i, label in enumerate(TWEETS)})
    assert main(["dataset=tsec3", tsec, "at_once=1", "seed=3", "llm=x", f"out={out}"]) == 0
    line = next(line for line in out.read_text(encoding="utf-8").splitlines() if "python run.py" in line)
    typed = shlex.split(line.removeprefix("#   python run.py "))
    assert corpus(*typed).label_texts == [f"All of kind {i}." for i in range(len(TWEETS))]


def test_awkward_labels_load_back(awkward: list[str], out: Path, script: Callable[..., Scripted]) -> None:
    answers = {label: f"关于 {i}: yes, #{i}" for i, label in enumerate([*AWKWARD[:4], "余额 查询", *AWKWARD[5:]])}
    script(answers | {"yes": ""})
    assert main([*awkward, "llm=x", f"out={out}"]) == 0
    made = corpus(*awkward, f"dataset.label_texts={out}")
    texts = dict(zip(made.labels, made.label_texts, strict=True))
    assert texts == {label: f"关于 {i}: yes, #{i}" for i, label in enumerate(AWKWARD)} | {"yes": "yes"}
    assert "余额_查询: '关于 4: yes, #4'" in out.read_text(encoding="utf-8").splitlines()


def test_what_is_asked_comes_from_train_alone_and_depends_on_the_seed(
    tsec: str, out: Path, script: Callable[..., Scripted]
) -> None:
    scripted = script({label: label for label in TWEETS})
    asked = []
    for seed in (0, 0, 1):
        command = ["dataset=tsec3", tsec, "llm=x", f"out={out}", "examples=2", f"seed={seed}", "overwrite=true"]
        assert main([*command, "dataset.language=zh"]) == 0
        asked.append(scripted.asked)
    assert asked[0] == asked[1] != asked[2]
    made = corpus("dataset=tsec3", tsec)
    for label, prompt in enumerate(asked[0]):
        shown = [line.removeprefix("- ") for line in prompt.splitlines() if line.startswith("- train ")]
        known = [text for text, of in zip(made.train.texts, made.train.labels, strict=True) if of == label]
        assert len(shown) == 2
        assert set(shown) <= set(known)
        assert not any(text in prompt for text in [*made.val.texts, *made.test.texts])
        assert "Answer in Chinese" in prompt
        assert all(f"- {name} ({text})" in prompt for name, text in zip(made.labels, made.label_texts, strict=True))


def test_a_file_that_is_there_is_left_alone_unless_told(
    tsec: str, out: Path, script: Callable[..., Scripted], capsys: pytest.CaptureFixture[str]
) -> None:
    script({label: f"new {i}" for i, label in enumerate(TWEETS)})
    out.write_text("negative: mine\n")
    command = ["dataset=tsec3", tsec, "at_once=1", "llm=x", f"out={out}"]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"out={out} is there already, and is not one that this command began and was interrupted in; give another "
        "file, or write it anew with overwrite=true\n"
    )
    assert out.read_text() == "negative: mine\n"
    assert main([*command, "overwrite=true"]) == 0
    assert "negative: new 0\n" in out.read_text()


def test_an_interrupted_command_goes_on(
    tsec: str, out: Path, script: Callable[..., Scripted], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["dataset=tsec3", tsec, "at_once=1", "llm=x", f"out={out}"]
    good = {label: f"All of kind {i}." for i, label in enumerate(TWEETS)}
    script(good | {"positive": KeyboardInterrupt()})
    assert main(command) == 130
    out.write_text(out.read_text().replace("All of kind 0.", "Edited."))
    script(good | {"negative": AssertionError(), "neutral": AssertionError()})
    assert main([*command, "examples=4"]) == 1  # another command's
    assert "is not one that this command began" in capsys.readouterr().err
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"going on with {out}, which has 2 of 3 label texts\nlabel texts, 3/3: positive\n")
    assert corpus("dataset=tsec3", tsec, f"dataset.label_texts={out}").label_texts == [
        "Edited.",
        "All of kind 1.",
        "All of kind 2.",
    ]
    assert main(command) == 1  # it is whole
    assert not [path for path in out.parent.iterdir() if path.name.endswith(".part")]


def test_an_answer_is_taken_only_where_it_separates_better(
    tiny_corpus: Path, tiny_bert: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["dataset=custom", "dataset.train=train.csv", "dataset.test=test.csv", f"data_dir={tiny_corpus}"]
    made = corpus(*overrides)
    own = {label: made.train.texts[made.train.labels.index(i)] for i, label in enumerate(made.labels)}
    scripted = Scripted({label: " ".join(own[label].split()[::-1]) for label in made.labels})
    monkeypatch.setattr(label_writer, "load_language_model", lambda *_, **__: scripted)
    embedding = f"embedding.pretrained={tiny_bert}"
    assert main([*overrides, embedding, "llm=x", f"out={out}", "examples=0"]) == 0
    said = capsys.readouterr().out
    found = re.search(r"is right on ([\d.]+) % of (\d+) training texts; it was on ([\d.]+) %\n$", said)
    assert found
    assert int(found[2]) == len(made.train.texts)
    worse = said.partition(" times the answer separates training texts no better")[0].rpartition(" ")[2]
    lines = out.read_text().splitlines()
    assert lines.count(f"# {label_writer.FAULTS['worse']}, so the present text is kept") == int(worse or 0)


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Stopped(signal.SIGTERM), 143)])
def test_an_interruption_loses_nothing(
    stop: BaseException,
    status: int,
    tsec: str,
    out: Path,
    script: Callable[..., Scripted],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script({"negative": "Sad tweets.", "neutral": "Dry tweets.", "positive": stop})
    assert main(["dataset=tsec3", tsec, "at_once=1", "llm=x", f"out={out}"]) == status
    assert capsys.readouterr().err.endswith(
        f"interrupted; {out} has 2 of 3 label texts, and the same command goes on with it\n"
    )
    assert corpus("dataset=tsec3", tsec, f"dataset.label_texts={out}").label_texts == [
        "Sad tweets.",
        "Dry tweets.",
        "positive",
    ]
    before = out.read_text()
    script({"negative": stop})
    assert main(["dataset=tsec3", tsec, "at_once=1", "llm=x", f"out={out}", "overwrite=true"]) == status
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert out.read_text() == before


def test_sigterm_ends_it_with_a_sentence(
    tsec: str, out: Path, script: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    scripted = script({"negative": "Sad tweets."})
    monkeypatch.setattr(scripted, "check_length", lambda _: signal.raise_signal(signal.SIGTERM))
    assert main(["dataset=tsec3", tsec, "llm=x", f"out={out}"]) == 143
    assert capsys.readouterr().err.endswith("interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_on_a_terminal_a_bar_is_drawn_on_stderr(
    tsec: str,
    out: Path,
    script: Callable[..., Scripted],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script({label: f"new {i}" for i, label in enumerate(TWEETS)})
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["dataset=tsec3", tsec, "at_once=1", "llm=x", f"out={out}"]) == 0
    captured = capsys.readouterr()
    assert "label texts" in captured.err
    assert captured.out.startswith(f"{out} has 3 label texts; read and edit them, then\n")


def test_a_real_model_writes_the_same_file_twice(tiny_corpus: Path, tmp_path: Path) -> None:
    llm = tiny.write_llama(tmp_path / "llama")
    sizes = json.loads((llm / "config.json").read_text()) | {"max_position_embeddings": 4096}
    (llm / "config.json").write_text(json.dumps(sizes))
    stops = list(range(2, sizes["vocab_size"], 3))
    (llm / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    # of the prompt's words the model knows the label's only
    label = "{{ messages[0].content.split('about the label ')[1].split('.')[0] }}"
    (llm / "chat_template.jinja").write_text(label)
    overrides = ["dataset=custom", "dataset.train=train.csv", "dataset.test=test.csv", f"data_dir={tiny_corpus}"]
    outs = [tmp_path / "once.yaml", tmp_path / "again.yaml"]
    for out in outs:
        assert main([*overrides, f"llm={llm}", f"out={out}", "examples=3", "max_new_tokens=8", "separation=false"]) == 0
    once, again = (out.read_text().replace(out.name, "") for out in outs)
    assert once == again
    made = corpus(*overrides, f"dataset.label_texts={outs[0]}")
    assert made.labels == tiny.LABELS
    new = [text for text, label in zip(made.label_texts, tiny.LABELS, strict=True) if text != label]
    assert new
    assert {word for text in new for word in text.split()} <= set(tiny.VOCABULARY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=tsec", "llm=x"], "dataset=tsec is unknown; use one of banking77, cmcc34, custom,"),
        (["dataset.nmae=x", "llm=x"], "dataset.nmae is no key of this configuration; did you mean dataset.name?"),
        (["exmples=3", "llm=x"], "exmples is no key of this command; did you mean 'examples'?"),
        (["max_tokens=3", "llm=x"], "max_tokens is no key of this command; did you mean 'max_new_tokens'?"),
        (["bogus=1", "llm=x"], "bogus is no key of this configuration; "),
        (["datset=tsec3", "llm=x"], "datset is no key of this configuration; did you mean dataset?"),
        (["dataset=custom", "llm=x"], "dataset.train is not set, so there is nothing to read"),
        (["dataset=tsec3,banking77", "llm=x"], "dataset=tsec3,banking77 asks for several files; ask for one at a time"),
        (["llm=x,y"], "llm=x,y asks for several files"),
        (["tsec3", "llm=x"], "tsec3 cannot be read; write key=value"),
        ([], "llm is not set; give llm=FOLDER, or the hub id of a model"),
        (["llm="], "llm is not set"),
        (["~llm"], "llm"),
        (["llm=x", "examples=-1"], "examples=-1 is too small; it must be at least 0"),
        (["llm=x", "examples=few"], "examples=few has a value of the wrong type; examples takes a whole number"),
        (["llm=x", "at_once=0"], "at_once=0 is too small; it must be at least 1"),
        (["llm=x", "max_new_tokens=0"], "max_new_tokens=0 is too small; it must be at least 1"),
        (["llm=x", "quantize=int8"], "quantize=int8 is unknown; use one of nf4, none"),
        (["llm=x", "overwrite=maybe"], "overwrite=maybe has a value of the wrong type; overwrite takes true or false"),
        (["llm=x", "out=texts.txt"], "out=texts.txt has an unknown ending; use .yaml or .yml"),
        (["llm=x", "out=none/texts.yaml"], "out=none/texts.yaml is in a folder that does not exist; make none first"),
        (["llm=./none"], "llm=./none is no folder here; give an existing folder or a hub id such as HuggingFaceTB/"),
        (["llm=nobody/nothing"], "llm=nobody/nothing is neither a folder with a model nor reachable on the hub ("),
        (["llm=sentence-transformers/all-MiniLM-L6-v2"], "llm=sentence-transformers/all-MiniLM-L6-v2 cannot generate"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(label_texts, "load_corpus", _small)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def _small(config: Any, data_dir: str | None) -> Corpus:
    """Load what has files, and stand in for the embedded data set, whose calls take seconds to generate."""
    if config.name != "telecom34":
        return load_corpus(config, data_dir)
    texts, labels = tiny.samples(8)
    split = Split([str(i) for i in range(8)], texts, labels)
    return Corpus("telecom34", tiny.LABELS, tiny.LABELS, split, split, split)


def test_running_out_of_memory_and_unwritable_files_are_one_sentence(
    tsec: str, tmp_path: Path, script: Callable[..., Scripted], capsys: pytest.CaptureFixture[str]
) -> None:
    script({"negative": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")})
    command = ["dataset=tsec3", tsec, "at_once=1", "llm=big"]
    assert main([*command, f"out={tmp_path / 'a.yaml'}"]) == 1
    said = capsys.readouterr().err
    assert said == "llm=big needs more memory than there is; set quantize=nf4 or give a smaller one\n"
    script({"negative": "Sad tweets."})
    (tmp_path / "folder.yaml").mkdir()
    assert main([*command, f"out={tmp_path / 'folder.yaml'}", "overwrite=true"]) == 1
    assert f"out={tmp_path / 'folder.yaml'} cannot be written (Is a directory)" in capsys.readouterr().err
    script({"negative": RuntimeError("something else")})
    with pytest.raises(RuntimeError, match="something else"):
        main([*command, f"out={tmp_path / 'b.yaml'}"])


def test_help_names_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for key in ("llm ('')", "examples (5)", "max_new_tokens (128)", "overwrite (False)", "dataset.label_texts=null"):
        assert key in printed
