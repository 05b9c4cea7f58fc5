"""Runs and sweeps that are told to stop."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import killing
import typed
from test_resuming_runs import ROOT, command


def test_a_sweep_that_is_told_to_stop_says_what_it_keeps_and_leaves(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    words = command(tiny_corpus, tiny_bert, "seed=0,1", "model.epochs=30", "-m")
    done = warm(*words, cwd=tmp_path, stop=(signal.SIGTERM, "classifier, epoch 3/30"))
    assert done.returncode == 143
    *_, last = done.stderr.splitlines()
    assert last.startswith(
        "stopped by SIGTERM at the classifier; what was through before is kept, and its training up to"
    )
    assert last.endswith(f"to go on from there: python {' '.join(words)}")
    assert "Traceback" not in done.stderr
    (summary,) = tmp_path.glob("multirun_outputs/sweeps/*/summary.md")
    failed = [line for line in summary.read_text().splitlines() if line.startswith("- failed: ")]
    for seed, line in zip((0, 1), failed, strict=True):
        assert f"seed={seed}" in line
        assert line.endswith(": not finished: stopped by SIGTERM")
    assert not list(tmp_path.rglob("results.json"))  # it did not fail
    (kept,) = tmp_path.rglob("*.training")
    assert kept.parent == tmp_path / "cache" / "classifier"


def test_what_was_stopped_within_an_epoch_goes_on_there_and_is_marked(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    words = command(tiny_corpus, tiny_bert, "model.batch_size=8")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    words.remove("trainer.checkpoint_minutes=0")  # nothing is kept before it is told to stop: it is too short
    tracked = ["logger=wandb" if word == "logger=csv" else word for word in words]
    assert warm(*words, cwd=whole).returncode == 0
    done = warm(
        *tracked, cwd=stopped, env=os.environ | {"WANDB_MODE": "offline"}, stop=(signal.SIGINT, "classifier, epoch 2/4")
    )
    assert done.returncode == 130
    assert "stopped by SIGINT at the classifier" in done.stderr
    (log,) = stopped.rglob("run-*.wandb")
    assert b"stopped_by" in log.read_bytes()
    done = warm(*words, cwd=stopped)
    assert done.returncode == 0, done.stderr
    assert "continuing classifier" in done.stdout
    assert "classifier, epoch 1/4" not in done.stdout
    assert killing.results(stopped) == killing.results(whole)


def test_ctrl_c_while_libraries_are_imported_is_a_sentence(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes inherit it where it is ignored
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(ROOT / "run.py"), "logger=csv"], cwd=tmp_path, **pipes)
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading telecom34 …\n"  # said before the libraries are imported
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == (
        "stopped by SIGINT before anything was trained; to start again: "
        f"python {shlex.quote(str(ROOT / 'run.py'))} logger=csv\n"
    )
