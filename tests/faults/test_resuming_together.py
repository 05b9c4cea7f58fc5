"""Runs of two processes, of which one is killed or the first is told to stop, go on when they are typed again."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import killing
import pytest
import several
import typed
from forked import forked
from test_resuming_runs import command

SECONDS = 10  # in which nobody is left of a run whose leading process has gone


def words(corpus: Path, pretrained: Path, *more: str) -> list[str]:
    """Return a run of two processes, without what is typed before `run`."""
    return ["run", *command(corpus, pretrained)[1:], "trainer.devices=2", *more]


def left(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def nobody_is_left(folder: Path) -> None:
    """Wait until no process works in a folder any more."""
    late = time.monotonic() + SECONDS
    while left(folder):
        assert time.monotonic() < late, "a process is still there"
        time.sleep(0.1)


def kill_the_follower(folder: Path, stage: str) -> None:
    """Kill the process that was started beside another in a folder, when a state of a stage has been kept."""
    late = time.monotonic() + 120
    while time.monotonic() < late:
        with suppress(OSError):  # states come and go
            if any(folder.rglob(f"{stage}/*.training/[0-9]*")) and (others := several.followers(folder)):
                os.kill(others[0], signal.SIGKILL)
                return
        time.sleep(0.02)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_two_processes_go_on_when_either_is_killed(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, cache: str
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    typed_words = words(tiny_corpus, tiny_bert, f"cache={cache}")

    def together() -> list[str]:
        return [*forked(2, "lrsl.commands.main"), *typed_words]

    done = warm(*together(), cwd=whole, env=several.ENVIRONMENT)
    assert done.returncode == 0, done.stderr

    done = warm(*together(), cwd=killed, env=several.ENVIRONMENT, stop=(signal.SIGKILL, "classifier, epoch 3/4"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    nobody_is_left(killed)

    killer = threading.Thread(target=kill_the_follower, args=(killed, "embedding"))
    killer.start()
    done = warm("-m", "lrsl", *typed_words, cwd=killed, env=several.ENVIRONMENT)
    killer.join()
    assert done.returncode == 1, done.stdout
    assert "process 2 of 2 failed: it was ended by SIGKILL" in done.stderr
    assert "continuing classifier" in done.stdout
    assert "classifier, epoch 1/4" not in done.stdout
    nobody_is_left(killed)

    done = warm(*together(), cwd=killed, env=several.ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "classifier, epoch" not in done.stdout  # it was through
    assert "continuing embedding" in done.stdout
    assert killing.results(killed) == killing.results(whole)
    assert [path for name in ("*.training", ".unfinished", ".lock", ".scratch") for path in killed.rglob(name)] == []


@pytest.mark.parametrize(
    ("number", "started"), [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_two_processes_stop_with_one_sentence(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, number: signal.Signals, started: bool
) -> None:
    typed_words = words(tiny_corpus, tiny_bert, "model.epochs=40", "model.patience=40")
    start = ["-m", "lrsl"] if started else forked(2, "lrsl.commands.main")
    done = warm(*start, *typed_words, cwd=tmp_path, env=several.ENVIRONMENT, stop=(number, "classifier, epoch 3/40"))
    assert done.returncode == 128 + number
    (told,) = [line for line in done.stderr.splitlines() if not line.startswith("[rank")]  # torch's own remarks
    assert told.startswith(
        f"stopped by {number.name} at the classifier; what was through before is kept, and its training up to "
    )
    nobody_is_left(tmp_path)
    assert not list(tmp_path.rglob("results.json"))  # it did not fail
    (kept,) = tmp_path.rglob("*.training")
    (state,) = kept.glob("[0-9]*")
    assert json.loads((state / "kept.json").read_text())["reached"] in told
