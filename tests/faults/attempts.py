"""What `soak` tries: each attempt draws what it does, does it to a run, and raises where the run is harmed.

python tests/faults/attempts.py KIND RECORD --seed 0 --wanted 30
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

import disks
import fuzz
import killing
import several
import test_disks
import test_resuming_runs
import test_several_processes
import tiny
import typed
from forked import forked

from lrsl.commands import store

ROOT = Path(__file__).resolve().parents[2]
Counts = dict[str, int]


class ForbiddenError(Exception):
    """This machine does not allow what an attempt needs."""


@dataclass
class Place:
    """Where attempts are made.

    Attributes:
        run: types commands.
        shared: holds the data, the networks, and what undisturbed runs came to.
        folder: of one attempt, empty.
        number: of the attempt, which some choose by.
    """

    run: typed.Typed
    shared: Path
    folder: Path = Path()
    number: int = 0
    _whole: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    @property
    def corpus(self) -> Path:
        """Texts of four labels."""
        return self.shared / "corpus"

    @property
    def bert(self) -> Path:
        """A network of two layers."""
        return self.shared / "bert"

    def words(self, *more: str) -> list[str]:
        """Return a short run to type."""
        return test_resuming_runs.command(self.corpus, self.bert, "model.epochs=2", "embedding.epochs=2", *more)

    def whole(self, words: Sequence[str]) -> dict[str, Any]:
        """Return what a command comes to undisturbed."""
        if tuple(words) not in self._whole:
            with tempfile.TemporaryDirectory() as folder:
                ended(self.run(*words, cwd=Path(folder)))
                self._whole[tuple(words)] = killing.results(Path(folder))
        return self._whole[tuple(words)]

    def alike(self, folder: Path, words: Sequence[str]) -> None:
        """Hold that the results below a folder are those of a command undisturbed."""
        differences = killing.differences(killing.results(folder), self.whole(words))
        assert not differences, f"not as undisturbed: {differences}"


def ended(done: Any) -> None:
    """Hold that a command has ended well."""
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-600:]}"


def kills(place: Place, rng: random.Random) -> Counts:
    """Kill a run of one kind, up to six times, and let it go on."""
    name, more = [("plain", []), *test_resuming_runs.KINDS.items()][place.number % 7]
    pretrained = place.shared / "llama" if name == "nf4" else place.bert
    more = [word.replace("PRETRAINED", str(place.bert)) for word in more]
    words = test_resuming_runs.command(place.corpus, place.bert, *more, f"model.pretrained={pretrained}")
    return _under_fire(place, words, 6, rng, name)


LAUNCHERS = {"basic": "hydra", "joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}
"""What each needs."""


def launchers(place: Place, rng: random.Random) -> Counts:
    """Kill a sweep of two runs that a launcher has started, twice, and let it go on."""
    launcher = [*LAUNCHERS][place.number % len(LAUNCHERS)]
    if find_spec(LAUNCHERS[launcher]) is None:
        return {"kills": 0, f"{launcher} is not installed": 1}
    words, alike = place.words("seed=0,1", f"launcher={launcher}", "-m"), place.words("seed=0,1", "-m")
    within = 0.0 if launcher == "basic" else 60.0  # jobs in processes of their own import the libraries first
    return _under_fire(place, words, 2, rng, launcher, alike=alike, within=within)


def _under_fire(place: Place, words: Sequence[str], times: int, rng: random.Random, name: str, **more: Any) -> Counts:
    tried = killing.under_fire(place.run, words, place.folder, times, rng, **more)
    assert tried.survived, f"after kills at {tried.killed}: {killing.differences(tried.found, tried.whole)}"
    assert not list(place.folder.rglob("*.training")), "a training that is through was left"
    counts = {"kills": len(tried.killed), f"of {name}": len(tried.killed), "trainings taken up": len(tried.continued)}
    for line in tried.killed:
        counts[moment(line)] = counts.get(moment(line), 0) + 1
    return counts


def moment(line: str) -> str:
    """Return when a run was killed, from the last line that it had printed."""
    if found := re.search(r"(\S+), epoch|continuing (.+?) at", line):
        return f"while or after training: {found[1] or found[2]}"
    return "before training" if not line or "reading" in line else "afterwards or elsewhere"


def processes(place: Place, rng: random.Random) -> Counts:
    """Have two or three processes compute a run: as one does, or killed twice and going on."""
    number = 2 + place.number // 2 % 2
    words = [
        *several.words(several.write_corpus(place.folder), place.bert),
        f"seed={rng.randrange(1000)}",
        f"embedding.negatives={rng.choice(['confused', 'batch'])}",
    ]
    if place.number % 2:
        command = ["-m", "lrsl", *words, f"trainer.devices={number}"]
        counts = _under_fire(place, command, 2, rng, f"{number} processes")
        for folder in ("quiet", "loud"):
            test_several_processes.gone(place.folder / folder)
        return {"runs": 1, **counts}
    for devices in (1, number):
        start = ["-m", "lrsl"] if devices == 1 else forked(devices, "lrsl.commands.main")
        more = [f"trainer.devices={devices}", f"hydra.run.dir={devices}", f"cache_dir=store{devices}"]
        ended(place.run(*start, *words, *test_several_processes.EXACT, *more, cwd=place.folder))
    test_several_processes.same_training(place.folder / "1", place.folder / str(number))
    return {"runs": 1, f"{number} processes as one": 1}


AT_ONCE = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
waits, killed = [float(wait) for wait in sys.argv.pop(1).split(",")], float(sys.argv.pop(1))
processes = []
for number, wait in enumerate(waits):
    if not (process := os.fork()):
        time.sleep(wait)
        printed = os.open(f"printed{{number}}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        from lrsl.commands.run import main
        status = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(status)
    processes.append(process)
if killed:
    time.sleep(killed)
    os.kill(processes.pop(0), signal.SIGKILL)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes))
"""
"""Types what follows at several moments, and kills the first after some seconds unless they are 0."""


def at_once(place: Place, rng: random.Random) -> Counts:
    """Type a command two or three times at once; in every other attempt, kill the first."""
    words = place.words(*rng.choice([(), ("seed=0,1", "-m")]))
    waits = [0.0, *(rng.uniform(0, 3) for _ in range(rng.choice((1, 2))))]
    killed = rng.uniform(0.5, 8) if place.number % 2 else 0.0
    done = place.run("-c", AT_ONCE, ",".join(map(str, waits)), str(killed), *words[1:], cwd=place.folder)
    printed = [path.read_text() for path in sorted(place.folder.glob("printed*"))]
    assert done.returncode == 0, f"status {done.returncode}: {printed}"
    assert not [text for text in printed if "Traceback" in text], printed
    place.alike(place.folder, words)
    if not killed:
        runs = len(list(place.folder.rglob("results.json")))
        assert sum(text.count("already finished") for text in printed) == runs * (len(waits) - 1), printed
        assert not list(place.folder.glob("*outputs/**/.lock")), "a lock was left"
    return {"commands": len(waits), "killed beside others": int(killed > 0)}


def full_disk(place: Place, rng: random.Random) -> Counts:
    """Run on a file system of 40 to 900 kB, make room, and run again."""
    size, words, folder = rng.randrange(40, 900), place.words(), place.folder / "small"
    with disks.mounted(folder, f"{size}k") as may:
        if not may:
            raise ForbiddenError("this process may not mount file systems")
        done = place.run(*words, cwd=folder)
        if done.returncode:
            assert test_disks.is_one_sentence(done, "No space left on device"), done.stderr
        assert not list(folder.rglob("*.partial")), "half a file was left"
        assert not list(folder.glob("cache/.scratch/*")), "scratch was left"
        disks.resize(folder, "64m")
        ended(place.run(*words, cwd=folder))
        place.alike(folder, words)
    return {"disks": 1, "ended in a sentence": int(done.returncode != 0)}


def pruned(place: Place, rng: random.Random) -> Counts:
    """Prune the store every few milliseconds while a run is under way."""
    words, kept, stop, times = place.words(), place.folder / "cache", threading.Event(), [0]
    wait = rng.uniform(0.005, 0.05)

    def prune() -> None:
        while not stop.wait(wait):
            if kept.is_dir():
                store.main(["--dir", str(kept), "prune", "--all"])
                times[0] += 1

    with contextlib.redirect_stdout(io.StringIO()):
        beside = threading.Thread(target=prune)
        beside.start()
        try:
            done = place.run(*words, cwd=place.folder)
        finally:
            stop.set()
            beside.join()
        ended(done)
        place.alike(place.folder, words)
        assert store.main(["--dir", str(kept), "prune", "--all"]) == 0
    left = [str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()]
    assert not left, f"left in the store: {left}"
    return {"runs": 1, "prunes beside them": times[0]}


def inputs(place: Place, rng: random.Random) -> Counts:
    """Give 1,000 changed files to what reads them."""
    counted = fuzz.fuzz(1000, seed=rng.randrange(2**31), seconds=600)
    assert not counted.failed.total(), "; ".join(counted.failures.values())
    return {"inputs": counted.tried, "read": counted.read.total(), "refused": counted.refused.total()}


KINDS: dict[str, Callable[[Place, random.Random], Counts]] = {
    "kills": kills,
    "launchers": launchers,
    "processes": processes,
    "at-once": at_once,
    "full-disk": full_disk,
    "pruned": pruned,
    "inputs": inputs,
}


def attempt(kind: Callable[[Place, random.Random], Counts], place: Place, seed: int) -> dict[str, Any]:
    """Make the attempt of a number and return what became of it."""
    name = getattr(kind, "__name__", "")
    began, told = time.monotonic(), {"number": place.number}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place.folder = Path(folder)
        try:
            told |= {"counts": kind(place, random.Random(f"{seed} {name} {place.number}"))}
        except ForbiddenError as forbidden:
            told |= {"skipped": str(forbidden)}
        except Exception as error:
            told |= {"failed": f"{type(error).__name__}: {error}"[:1500]}
    return {**told, "seconds": round(time.monotonic() - began, 1), "at": time.strftime("%Y-%m-%d", time.gmtime())}


@contextmanager
def prepared() -> Iterator[Place]:
    """Make what attempts share."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, typed.warm() as run:
        made = Place(run, Path(folder))
        made.corpus.mkdir()
        tiny.write_corpus(made.corpus)
        tiny.write_bert(made.bert)
        tiny.write_llama(made.shared / "llama")
        yield made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make attempts of one kind, one after the other, each recorded in a line when it begins and when it has ended."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("record", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt")
    parser.add_argument("--wanted", type=int, default=1, help="how many of what the kind counts first")
    parser.add_argument("--last", type=int, default=sys.maxsize, help="number of the last one")
    given = parser.parse_args(arguments)
    os.environ.pop("LRSL_CACHE_DIR", None)
    os.environ["PYTHONPATH"] = str(ROOT)
    done = 0
    with prepared() as made, given.record.open("a", encoding="utf-8") as record:
        made.number = given.first
        while done < given.wanted and made.number <= given.last:
            print(json.dumps({"began": made.number, "time": time.time()}), file=record, flush=True)
            told = attempt(KINDS[given.kind], made, given.seed)
            print(json.dumps(told), file=record, flush=True)
            if "skipped" in told:
                break
            done += next(iter(told.get("counts", {}).values()), 0)
            made.number += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
