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
    """Return the results below a folder by their paths, without times and without the commit, which may be another."""
    found = {
        path.relative_to(folder).as_posix(): {**json.loads(path.read_text()), "seconds": None, "commit": None}
        for path in folder.rglob("results.json")
    }
    assert found
    return found


def differences(found: Any, whole: Any, place: str = "") -> list[str]:
    """Return where two results differ, and from what to what."""
    if isinstance(found, dict) and isinstance(whole, dict):
        keys = sorted({*found, *whole}, key=str)
        return [line for key in keys for line in differences(found.get(key), whole.get(key), f"{place} {key}")]
    return [] if found == whole else [f"{place.strip()}: {str(whole)[:200]} became {str(found)[:200]}"]


def under_fire(
    run: typed.Typed,
    words: Sequence[str],
    folder: Path,
    kills: int,
    rng: random.Random,
    *,
    alike: Sequence[str] = (),
    within: float = 0.0,
) -> Tried:
    """Type a command undisturbed, then kill it with SIGKILL so many times at random moments, and type it to its end.

    Args:
        run: types it.
        words: the words after `python`.
        folder: empty; the command is typed in two folders in it, which share nothing.
        kills: how many times; a command that ends before its moment has come is not killed any more.
        rng: draws the moments.
        alike: what is typed undisturbed instead, since it comes to the same sooner.
        within: seconds in which a kill comes; what the undisturbed command took, unless given.
    """
    quiet, loud = folder / "quiet", folder / "loud"
    quiet.mkdir(parents=True)
    loud.mkdir()
    start = time.monotonic()
    done = run(*(alike or words), cwd=quiet)
    assert done.returncode == 0, done.stderr
    tried = Tried(results(quiet), {}, time.monotonic() - start)
    for _ in range(kills):
        done = run(*words, cwd=loud, stop=(signal.SIGKILL, rng.uniform(0.1, within or tried.seconds)))
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
