"""A command that is killed at random moments, typed again to its end, and what it comes to undisturbed."""

import json
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typed


@dataclass
class Tried:
    """What became of a command under fire.

    Attributes:
        whole: its results undisturbed, without times.
        found: its results after the kills.
        seconds: how long it took undisturbed.
        killed: the last line on the screen at each kill.
        continued: the lines in which a training was taken up.
    """

    whole: dict[str, Any]
    found: dict[str, Any]
    seconds: float
    killed: list[str] = field(default_factory=list)
    continued: list[str] = field(default_factory=list)

    @property
    def survived(self) -> bool:
        """Whether nothing but times differs."""
        return self.found == self.whole


def results(folder: Path) -> dict[str, Any]:
    """Return the only results below a folder, without times and the commit, which a working copy may change."""
    (path,) = folder.rglob("results.json")
    return {**json.loads(path.read_text()), "seconds": None, "commit": None}


def under_fire(run: typed.Typed, words: Sequence[str], folder: Path, kills: int, rng: random.Random) -> Tried:
    """Type a command undisturbed, then kill it with SIGKILL so many times at random moments, and type it to its end.

    Args:
        run: types it.
        words: the words after `python`.
        folder: empty; the command is typed in two folders in it, which share nothing.
        kills: how many times; a command that ends before its moment has come is not killed any more.
        rng: draws the moments.
    """
    quiet, loud = folder / "quiet", folder / "loud"
    quiet.mkdir(parents=True)
    loud.mkdir()
    start = time.monotonic()
    done = run(*words, cwd=quiet)
    assert done.returncode == 0, done.stderr
    tried = Tried(results(quiet), {}, time.monotonic() - start)
    for _ in range(kills):
        done = run(*words, cwd=loud, stop=(signal.SIGKILL, rng.uniform(0.1, tried.seconds)))
        tried.continued += [line for line in done.stdout.splitlines() if line.startswith("continuing ")]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        tried.killed.append((done.stdout.splitlines() or [""])[-1])
    done = run(*words, cwd=loud)
    assert done.returncode == 0, done.stderr
    tried.continued += [line for line in done.stdout.splitlines() if line.startswith("continuing ")]
    tried.found = results(loud)
    return tried
