"""What stops a comparison with other tools: a signal, a full disk, a damaged file, an encoder that is none."""

import errno
import fcntl
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_peers import ROOT, told
from typed import Typed

from experiments.peers import __main__, one, page

AT_WORK = """
import fcntl, pathlib, subprocess, sys, tempfile
with open(r"{lock}", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print(tempfile.mkdtemp(), file=lock, flush=True)
    sleeps = "import signal, time; signal.signal(15, signal.SIG_IGN); print('at work', flush=True); time.sleep(100)"
    subprocess.{start}([r"{python}", "-c", sleeps], pass_fds=[lock.fileno()])
sys.exit(7)
"""
TYPED = """
import runpy, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.executable = sys.argv.pop(1)
runpy.run_module("experiments.peers", run_name="__main__", alter_sys=True)
"""
IMPORTING = """
import runpy, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "experiments.peers.asked":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_module("experiments.peers", run_name="__main__", alter_sys=True)
"""
SENTENCE = "stopped by {}; what was measured before is kept, and the same command goes on\n"


def words(encoder: Path, folder: Path) -> list[str]:
    rows = ["dataset=telecom34", "dataset.per_class=5", "dataset.split_seed=null"]
    return [*rows, f"encoder={encoder}", f"out={folder / 'out'}", "peers=linear_svm,setfit"]


def program(folder: Path, start: str) -> Path:
    """What stands in for Python: it starts a process, and both hold a lock."""
    file = folder / "python"
    work = AT_WORK.format(lock=folder / "lock", python=sys.executable, start=start)
    file.write_text(f"#!{sys.executable}\n{work}")
    file.chmod(0o755)
    return file


def check_all_have_ended(lock: Path) -> str:
    """Return what the lock's file holds, once nobody holds the lock; a process that goes on has it for longer."""
    start = time.monotonic()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert time.monotonic() - start < 50
        return held.read().strip()


@pytest.mark.parametrize(
    ("number", "status", "name"),
    [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM"), (signal.SIGHUP, 143, "SIGTERM")],
)
def test_what_is_told_to_stop_leaves_nothing_at_work_and_says_so(
    number: int, status: int, name: str, warm: Typed, tiny_bert: Path, tmp_path: Path
) -> None:
    python, lock = program(tmp_path, "run"), tmp_path / "lock"
    done = warm("-c", TYPED, str(python), *words(tiny_bert, tmp_path), cwd=ROOT, stop=(number, "at work"))
    assert done.stderr == SENTENCE.format(name)
    assert done.returncode == status
    assert not Path(check_all_have_ended(lock)).exists()
    assert not (tmp_path / "out").exists()


def test_what_is_told_to_stop_while_it_is_loaded_says_so(warm: Typed, tiny_bert: Path, tmp_path: Path) -> None:
    done = warm("-c", IMPORTING, *words(tiny_bert, tmp_path), cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, SENTENCE.format("SIGINT"))


def test_what_a_peer_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, lock = program(tmp_path, "Popen"), tmp_path / "lock"
    monkeypatch.setattr(sys, "executable", str(python))
    assert __main__.status(["nothing"]) == 7
    assert not Path(check_all_have_ended(lock)).exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("(os error 28)")])
def test_a_full_disk_is_a_sentence(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(one, "measured", refuse)
    assert one.main(["linear_svm", str(tmp_path / "seed0.json"), f"out={tmp_path}"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"{tmp_path} or ")
    assert shown.endswith(": No space left on device; make room there, and the same command goes on\n")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    "damage",
    [
        *({"systems": value} for value in ([], {}, {"linear_svm": 5}, {"linear_svm": {"accuracy": 0.5}}, None)),
        {"systems": {"linear_svm": {"accuracy": float("nan"), "train_seconds": 1, "seconds_per_1000": 1}}},
        {"systems": {"linear_svm": {"accuracy": 0.5, "train_seconds": float("inf"), "seconds_per_1000": 1}}},
        *({"memory_mb": value} for value in ("x", float("inf"), None)),
        *({"seed": value} for value in ("0", 0.5, True, -1)),
        *({"corpus": 5}, {"data": [1]}, {"data": {"train": 1}}, {"rows": {"train": 1}}, {"versions": {"torch": 2}}),
        *({"load": "x"}, {"load": float("nan")}, {"weights": 1}, {"encoder": None}, {"absent": ["setfit"]}),
    ],
    ids=json.dumps,
)
def test_a_damaged_file_is_left_out_and_measured_again(
    damage: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tiny" / "linear_svm" / "seed0.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(told() | damage), encoding="utf-8")
    with caplog.at_level(logging.WARNING, "experiments"):
        assert not __main__.is_done(page.result(file))
    assert caplog.messages == [f"{file} is damaged and left out; the same command measures it again"]
    assert page.read(tmp_path) == []


@pytest.mark.parametrize("key", [key for key in told() if key not in ("weights", "load")])
def test_a_file_without_a_key_is_left_out(key: str, tmp_path: Path) -> None:
    file = tmp_path / "seed0.json"
    file.write_text(json.dumps({name: value for name, value in told().items() if name != key}), encoding="utf-8")
    assert page.result(file) is None


@pytest.mark.parametrize("files", [None, [], ["config.json"], ["config.json", "tokenizer.json"]])
def test_an_encoder_that_is_none_is_refused_before_anything_is_measured(
    files: list[str] | None,
    tiny_bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(__main__, "status", lambda _: pytest.fail("something was measured"))
    encoder = tmp_path / "an encoder"  # with a space, of which Hydra would make an error of its own
    if files is not None:
        encoder.mkdir()
        for name in files:
            (encoder / name).write_bytes((tiny_bert / name).read_bytes())
    assert __main__.main(words(encoder, tmp_path)) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"encoder={encoder} ")
    assert shown.err.count("\n") == 1
    assert not shown.out
    assert not (tmp_path / "out").exists()


def test_an_empty_encoder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["encoder=", f"out={tmp_path / 'out'}"]) == 1
    assert capsys.readouterr().err == "encoder is empty; give encoder=FOLDER, or a hub id\n"


def test_no_page_is_written_where_there_is_nothing_to_show(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "status", lambda _: 1)
    assert __main__.main(words(tiny_bert, tmp_path)) == 1
    assert capsys.readouterr().err == "linear_svm, seed 0: failed\nsetfit, seed 0: failed\n"
    assert not (tmp_path / "out").exists()


def test_output_that_nobody_reads_is_a_sentence(
    tiny_bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(_: Any) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(__main__, "measure", unread)
    assert __main__.main(words(tiny_bert, tmp_path)) == 141
    assert capfd.readouterr().err == "the output was closed before all of it was written\n"
