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


def tell(number: int, folder: Path, stage: str, *, everybody: bool = False) -> None:
    """Send a signal to the process that was started beside another in a folder, when a state of a stage has been kept.

    Args:
        number: of the signal.
        folder: the folder.
        stage: the stage.
        everybody: whether the other one gets it afterwards.
    """
    late = time.monotonic() + 120
    while time.monotonic() < late:
        with suppress(OSError):  # states come and go
            if any(folder.rglob(f"{stage}/*.training/[0-9]*")) and (others := several.followers(folder)):
                leader = int(Path(f"/proc/{others[0]}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(others[0], number)
                if everybody:
                    os.kill(leader, number)
                return
        time.sleep(0.02)


@pytest.mark.timeout(900)
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

    killer = threading.Thread(target=tell, args=(signal.SIGKILL, killed, "embedding"))
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
    ("number", "told"),
    [
        (signal.SIGTERM, "leader"),
        (signal.SIGTERM, "everybody"),
        (signal.SIGTERM, "torchrun's"),
        (signal.SIGINT, "leader"),
    ],
)
def test_two_processes_that_are_told_to_stop_say_one_sentence(
    warm: typed.Typed, tiny_corpus: Path, tiny_bert: Path, tmp_path: Path, number: signal.Signals, told: str
) -> None:
    typed_words = words(tiny_corpus, tiny_bert, "model.epochs=60", "model.patience=60")
    start = forked(2, "lrsl.commands.main") if told == "torchrun's" else ["-m", "lrsl"]
    teller = threading.Thread(target=tell, args=(number, tmp_path, "classifier"), kwargs={"everybody": True})
    if told == "everybody":
        teller.start()
        done = warm(*start, *typed_words, cwd=tmp_path, env=several.ENVIRONMENT)
        teller.join()
    else:
        stop = (number, "classifier, epoch 3/60")
        done = warm(*start, *typed_words, cwd=tmp_path, env=several.ENVIRONMENT, stop=stop)
    assert done.returncode == 128 + number
    (said,) = [line for line in done.stderr.splitlines() if not line.startswith("[rank")]  # torch's own remarks
    assert said.startswith(
        f"stopped by {number.name} at the classifier; what was through before is kept, and its training up to "
    )
    nobody_is_left(tmp_path)
    assert not list(tmp_path.rglob("results.json"))  # it did not fail
    (kept,) = tmp_path.rglob("*.training")
    (state,) = kept.glob("[0-9]*")
    assert json.loads((state / "kept.json").read_text())["reached"] in said
