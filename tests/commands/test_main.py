"""The command `lrsl`: its table, its help, its completion, and a user's own folder of YAML."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import lrsl
from lrsl.commands import closed, completion, main
from lrsl.commands.card import main as card
from lrsl.config import place
from lrsl.sweep import journal

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}


def lrsl_typed(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lrsl", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with a data set and a model."""
    for group, text in (("dataset", "name: mine\ntrain: a.csv\ntest: b.csv\n"), ("model", "name: small\nlr: 1e-3\n")):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / ("mine.yaml" if group == "dataset" else "small.yaml")).write_text(text)
    return tmp_path / "own"


def test_alone_it_says_what_to_type_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 0
    assert "  lrsl run logger=csv\n" in capsys.readouterr().out


def test_the_help_is_one_screen_and_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in main.COMMANDS)


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["rum"]) == 2
    assert capsys.readouterr().err == "lrsl rum is no command; did you mean 'run'?; lrsl --help lists them\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name: str, tmp_path: Path) -> None:
    done = lrsl_typed(tmp_path, name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"lrsl {name}" in done.stdout
    assert name == "run" or "xample" in done.stdout
    assert "python run.py" not in done.stdout


@pytest.mark.parametrize(
    "typed",
    [
        ["\x1b[2Jstore"],
        ["store", "--dir", "\x1b[2Jx", "prune", "\x1b[2J"],
        ["card", "dataset.name=\x1b[2Jx"],
        ["card", "\x1b[2J=1"],
        ["report", "\x1b[2Jx"],
        ["replay", "\x1b[2Jx"],
    ],
)
def test_no_terminal_is_given_a_command(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        assert main.main(typed) != 0
    said = "".join(capsys.readouterr())
    assert "\\x1b[2J" in said
    assert "\x1b" not in said


def test_what_is_said_of_a_sweep_that_is_stopped_is_fit_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [["dataset.name=\x1b[2Jx", "+api_key=hunter2xyz"]]
    monkeypatch.setattr("lrsl.sweep.journal.leave_out", lambda reason: left)
    monkeypatch.setitem(sys.modules, "lrsl.sweep.journal", journal)
    said = main._said(15, ["dataset.name=\x1b[2Jx", "-m"])
    assert said.splitlines()[0] == "not finished: dataset.name=\\x1b[2Jx +api_key=***"
    assert "\x1b" not in said


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "command", lambda name: interrupted)
    assert main.main(["store"]) == 130


@pytest.mark.parametrize("typed", [["--help"], ["completion", "bash"], ["completion", "--help"], ["--version"]])
def test_a_reader_that_has_gone_is_one_sentence(typed: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "lrsl", *typed]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (closed.STATUS, "the output was closed before all of it was written\n")


def test_a_folder_that_cannot_be_written_to_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refused(arguments: list[str]) -> int:
        raise PermissionError(13, "Permission denied", "outputs")

    monkeypatch.setattr(main, "command", lambda name: refused)
    monkeypatch.chdir(tmp_path)
    assert main.main(["figures"]) == 1
    sentence = f"{tmp_path / 'outputs'}: Permission denied; work in a folder that can be written to\n"
    assert capsys.readouterr().err == sentence
    monkeypatch.setattr(main, "command", lambda name: failing)
    with pytest.raises(OSError, match="something else"):
        main.main(["figures"])


def failing(arguments: list[str]) -> int:
    raise OSError("something else")


def test_the_version_is_that_of_what_is_installed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", lrsl.__version__)


def test_help_loads_neither_hydra_nor_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from lrsl.commands.main import main; main(['--help']); main(['run', '--help'])\n"
        "print([name for name in ('hydra', 'torch', 'omegaconf', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_users_own_choices_are_listed_and_composed(own: Path, tmp_path: Path) -> None:
    shown = lrsl_typed(tmp_path, "run", "--config-dir", str(own), "--help")
    assert "telecom34, tsec3" in shown.stdout
    assert re.search(r"dataset: .*\bmine\b", shown.stdout)
    done = lrsl_typed(tmp_path, "run", f"--config-dir={own}", "dataset=mine", "model=small", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "name: mine" in done.stdout
    assert "lr: 0.001" in done.stdout


def test_a_mistake_in_a_users_file_names_it(own: Path, tmp_path: Path) -> None:
    (own / "model" / "small.yaml").write_text("name: small\nlearning: 1\n")
    done = lrsl_typed(tmp_path, "run", "--config-dir", str(own), "model=small")
    assert done.returncode == 1
    assert f"(in {own}/model/small.yaml)" in done.stderr
    (own / "model" / "bert.yaml").write_text("name: bert\n")
    assert f"{own}/model/bert.yaml would never be read" in lrsl_typed(tmp_path, "run", "-cd", str(own)).stderr


def test_a_card_of_a_users_own_data_set(
    own: Path, tiny_corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "added", [])
    text = f"name: mine\ntrain: {tiny_corpus}/train.csv\ntest: {tiny_corpus}/test.csv\n"
    (own / "dataset" / "mine.yaml").write_text(text)
    assert card(["--config-dir", str(own), "dataset=mine"]) == 0
    assert capsys.readouterr().out.startswith("mine: 4 labels")
    assert card(["--config-dir", str(own / "nowhere")]) == 1


@pytest.mark.parametrize(
    ("typed", "some"),
    [
        (["ca"], ["card"]),
        (["run", "model=mi"], ["model=minilm", "model=mistral"]),
        (["run", "model=bert,mi"], []),
        (["run", "--mul"], ["--multirun"]),
        (["card", "dataset.val_f"], ["dataset.val_fraction="]),
        (["run", "rerun="], ["rerun=false", "rerun=true"]),
        (["run", "--cfg", "j"], ["job"]),
    ],
)
def test_words_are_completed(typed: list[str], some: list[str]) -> None:
    found = completion.words(typed)
    assert found == some or (not some and found == ["model=bert,minilm", "model=bert,mistral"])


def test_bash_completes(tmp_path: Path) -> None:
    door = tmp_path / "lrsl"
    door.write_text(f'#!/bin/sh\nexec {sys.executable} -m lrsl "$@"\n')
    door.chmod(0o755)
    script = (
        'eval "$(lrsl completion bash)"; COMP_WORDBREAKS=$\' =\'; COMP_LINE="lrsl run model=mi"; '
        "COMP_POINT=${#COMP_LINE}; _lrsl; echo ${COMPREPLY[@]}"
    )
    variables = ENVIRONMENT | {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout == "minilm mistral\n", done.stderr


def test_transformers_prints_nothing_among_the_answers(tmp_path: Path) -> None:
    program = (
        "import os, lrsl.commands.main as main\n"
        "main.command = lambda name: lambda rest: bool(__import__('transformers.trainer'))\n"
        "print(main.main(['store']), os.environ['WANDB_MODE'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True offline\n"


def test_closed_streams_are_without_content(tmp_path: Path) -> None:
    program = (
        "import os, sys, lrsl.commands.main as main\n"
        "for number in (0, 1): os.close(number)\n"
        "sys.stdin = sys.stdout = None\n"  # as Python has them where it is started so
        "main.command = lambda name: lambda rest: len(sys.stdin.read()) + (print('x') or 3)\n"
        "sys.exit(main.main(['store']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_a_table_whose_reader_has_gone_is_one_sentence(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = (
        "import sys, lrsl.commands.main as main\n"
        "from lrsl.screen import Screen\n"
        "main.command = lambda name: lambda rest: Screen().print('shown') or 0\n"
        "sys.stdout.reconfigure(line_buffering=True)\n"
        "sys.exit(main.main(['store']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (closed.STATUS, "the output was closed before all of it was written\n")
