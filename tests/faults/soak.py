"""Kills, faults and changed inputs for twenty minutes, and the page that says what survived.

make soak
python tests/faults/soak.py --only kills --number 4 --seed 0

The second makes one attempt again and prints what became of it. What has been tried stands in `build/soak/`, so that
the same command goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ATTEMPTS = Path(__file__).with_name("attempts.py")
PAGE = ROOT / "docs" / "reference" / "what-survives.md"
LONGEST = 400.0
"""Seconds that an attempt may take; one that takes longer hangs, and has failed."""


@dataclass(frozen=True)
class Kind:
    """What is tried in its share of the time.

    Attributes:
        name: of the attempts in `attempts.py`.
        what: in words.
        lane: 0 or 1; both run side by side.
        share: of its lane's time; what is not used goes to the next.
        wanted: how many, of what its attempts count first, are enough.
    """

    name: str
    what: str
    lane: int
    share: float
    wanted: int


KINDS = (
    Kind("inputs", "files changed at random, given to readers of data, results and reports", 0, 0.4, 20_000),
    Kind("full-disk", "runs on a disk of 40 to 900 kB, which are run again when there is room", 0, 0.2, 8),
    Kind(
        "at-once", "the same run or sweep typed two or three times at once, half the time killing the first", 0, 0.2, 12
    ),
    Kind("pruned", "runs whose store is pruned every 5 to 50 ms", 0, 0.1, 4),
    Kind("processes", "runs of two and three processes (DDP): as one computes them, or killed and taken up", 0, 0.1, 4),
    Kind("kills", "SIGKILL to a run, over classifiers, folds, control, cross-encoder and 4-bit weights", 1, 0.6, 30),
    Kind("launchers", "SIGKILL to a sweep, over `basic`, `joblib`, `submitit_local` and `ray`", 1, 0.4, 8),
)

Recorded = dict[str, list[dict[str, Any]]]


def soak(kinds: Sequence[Kind], folder: Path, seconds: float, seed: int, program: Path = ATTEMPTS) -> Recorded:
    """Try each kind until it has what is wanted or its time is over, and return what is recorded.

    Args:
        kinds: what is tried.
        folder: keeps the records; attempts that are there are not made again.
        seconds: of each lane.
        seed: of everything drawn.
        program: makes the attempts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()

    def lane(number: int) -> None:
        began, share = time.monotonic(), 0.0
        for kind in kinds:
            if kind.lane == number:
                share += kind.share
                _try(kind, folder / f"{kind.name}.jsonl", began + share * seconds, seed, program, stop)

    with ThreadPoolExecutor() as both:
        try:
            for _ in both.map(lane, sorted({kind.lane for kind in kinds})):
                pass
        finally:
            stop.set()
    return recorded(kinds, folder)


def recorded(kinds: Sequence[Kind], folder: Path) -> Recorded:
    """Return the attempts that have ended, by kind, and of those that were cut off the ones not made again since."""
    return {kind.name: [*_ends(folder / f"{kind.name}.jsonl").values()] for kind in kinds}


def _ends(record: Path) -> dict[int, dict[str, Any]]:
    return {told["number"]: told for told in _lines(record) if "number" in told}


def _lines(record: Path) -> list[dict[str, Any]]:
    whole = record.read_text(encoding="utf-8").splitlines(keepends=True) if record.exists() else []
    return [json.loads(line) for line in whole if line.endswith("\n")]


def total(attempts: Sequence[dict[str, Any]]) -> Counter[str]:
    """Return the sum of what attempts have counted."""
    counts: Counter[str] = Counter()
    for told in attempts:
        counts.update(told.get("counts", {}))
    return counts


def _got(attempts: Sequence[dict[str, Any]]) -> int:
    """Return how many of what a kind counts first there are."""
    return sum(next(iter(told.get("counts", {}).values()), 0) for told in attempts)


def _try(kind: Kind, record: Path, until: float, seed: int, program: Path, stop: threading.Event) -> None:
    """Have a process make attempts, and end it with all that it has started when its time is over."""
    _close(record, {"cut": True})
    while time.monotonic() < until and not stop.is_set():
        made = [told for told in _ends(record).values() if "cut" not in told]
        wanted = kind.wanted - _got(made)
        if wanted <= 0 or any("skipped" in told for told in made):
            return
        with tempfile.TemporaryDirectory(prefix="soak", ignore_cleanup_errors=True) as scratch:
            process = subprocess.Popen(
                [
                    *(sys.executable, str(program), kind.name, str(record), "--seed", str(seed)),
                    *("--first", str(max((told["number"] + 1 for told in made), default=0)), "--wanted", str(wanted)),
                ],
                env=variables(scratch),
                cwd=scratch,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                while process.poll() is None and time.monotonic() < until and not _hung(record):
                    if stop.wait(0.2):
                        break
            finally:
                hung = process.poll() is None and _hung(record)
                clear(process, Path(scratch))
        _close(record, {"failed": f"it hung for {LONGEST:.0f} s"} if hung else {"cut": True})
        if process.returncode > 0:
            raise RuntimeError(f"{program.name} {kind.name} ended with status {process.returncode}")


def _close(record: Path, why: dict[str, Any]) -> None:
    """Record what became of an attempt that has begun and not ended, if there is one."""
    last = (_lines(record) or [{}])[-1]
    if "began" in last:
        told = {"number": last["began"], **why, "seconds": round(time.time() - last["time"], 1)}
        with record.open("a", encoding="utf-8") as file:
            print(json.dumps({**told, "at": time.strftime("%Y-%m-%d", time.gmtime())}), file=file)


def _hung(record: Path) -> bool:
    last = (_lines(record) or [{}])[-1]
    return "began" in last and time.time() - last["time"] > LONGEST


def variables(scratch: str) -> dict[str, str]:
    """Return the environment of attempts: no network, one thread, and temporary files in a folder of their own."""
    given = {name: value for name, value in os.environ.items() if name != "LRSL_CACHE_DIR"}
    given |= dict.fromkeys(("TMPDIR", "RAY_TMPDIR"), scratch)
    given |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    return {**given, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def clear(process: subprocess.Popen[Any], scratch: Path) -> None:
    """End a process, what it has started in its folder, and what it has mounted there."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for at in Path("/proc").glob("[0-9]*"):
        try:
            if (at / "cwd").readlink().is_relative_to(scratch):
                os.kill(int(at.name), signal.SIGKILL)
        except OSError:
            continue
    mounts = Path("/proc/mounts").read_text().splitlines() if Path("/proc/mounts").exists() else []
    for place in (line.split()[1] for line in mounts):
        if Path(place).is_relative_to(scratch):
            subprocess.run(["umount", "-l", place], check=False)


HEAD = """# What survives

Runs are killed, crowded and starved, and files that others could have sent are read, by `make soak`: through the real
command line, with small networks, at moments and with changes drawn from a seed. It takes twenty minutes on two cores.
Each kind has its share of the time, so a slower machine tries less; the same command goes on with what is missing. This
page is what it wrote.

A kill survives when the same command, typed again until it ends, comes to the `results.json` of a run that nobody
disturbed, times aside. A full disk survives when the run ends well or in one sentence, leaves no half of a file, and
comes to the same results when there is room. An input survives when it is read, or refused in a sentence.
"""


def page(kinds: Sequence[Kind], made: Recorded, about: dict[str, str], seed: int) -> str:
    """Return the page, in Markdown."""
    lines = [HEAD, "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in about.items()), ""]
    lines += ["| tried | how many | attempts survived | failed | minutes |", "|---|--:|--:|--:|--:|"]
    lines += [_row(kind, made[kind.name]) for kind in kinds]
    lines += ["", "## In numbers", ""]
    for kind in kinds:
        if counts := total(made[kind.name]):
            lines.append(
                f"- `{kind.name}`: {', '.join(f'{name} {count:,}' for name, count in counts.items() if count)}"
            )
        lines += [
            f"- `{kind.name}`: number {told['number']} was cut off, as time was over, after {told['seconds']:.0f} s"
            for told in made[kind.name]
            if "cut" in told
        ]
    failures = [(kind, told) for kind in kinds for told in made[kind.name] if "failed" in told]
    lines += ["", "## What failed", "", *([] if failures else ["Nothing of the above."])]
    for kind, told in failures:
        again = f"python tests/faults/soak.py --only {kind.name} --number {told['number']} --seed {seed}"
        lines += [f"`{again}`", "", "```text", told["failed"].replace("```", "'''"), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(kind: Kind, attempts: list[dict[str, Any]]) -> str:
    skipped = [told["skipped"] for told in attempts if "skipped" in told]
    failed, ended = sum("failed" in told for told in attempts), sum("cut" not in told for told in attempts)
    number = f"{_got(attempts):,}"
    if _got(attempts) < kind.wanted:
        number += f" of {kind.wanted:,}"
    if not attempts or skipped:
        return f"| {kind.what} | {skipped[0] if skipped else 'not tried: no time was left'} | | | |"
    minutes = sum(told["seconds"] for told in attempts) / 60
    return f"| {kind.what} | {number} | {ended - failed} of {ended} | {failed} | {minutes:.1f} |"


def machine() -> str:
    """Return what kind of machine this is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} on {platform.machine()}"


def commit() -> str:
    """Return the commit, and whether what is tried has changed since."""
    if shutil.which("git") is None:
        return "unknown"
    head = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--", "lrsl", "experiments", "conf", "tests")
    return f"{head or 'unknown'}{'-changed' if changed else ''}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: Sequence[str] | None = None, program: Path = ATTEMPTS) -> int:
    """Soak, write the page, and return whether anything failed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=[kind.name for kind in KINDS], default=[])
    parser.add_argument("--number", type=int, default=None, help="make this attempt of --only again, and print it")
    parser.add_argument("--note", default="", help="what else is to be known of the machine")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--records", type=Path, default=ROOT / "build" / "soak")
    given = parser.parse_args(arguments)
    kinds = [kind for kind in KINDS if kind.name in given.only or not given.only]
    if given.number is not None:
        return again(kinds, given.number, given.seed, program)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    at = commit()
    made = soak(kinds, given.records / f"{at}-{given.seed}", given.minutes * 60, given.seed, program)
    dates = sorted({told["at"] for attempts in made.values() for told in attempts})
    words = ["--minutes", f"{given.minutes:g}", "--seed", str(given.seed)]
    words += [word for name in given.only for word in ("--only", name)]
    about = {
        "command": f"`python {Path(__file__).relative_to(ROOT).as_posix()} {' '.join(words)}`",
        "commit": f"`{at}`",
        "date": " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "",
        "machine": machine() + (f"; {given.note}" if given.note else ""),
        "seed": str(given.seed),
    }
    text = page(kinds, made, about, given.seed)
    given.page.write_text(text, encoding="utf-8")
    print(text[len(HEAD) :].strip())
    return int(any("failed" in told for attempts in made.values() for told in attempts))


def again(kinds: Sequence[Kind], number: int, seed: int, program: Path) -> int:
    """Make one attempt of each kind again, and print what became of it."""
    failed = False
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="soak", ignore_cleanup_errors=True) as scratch:
            record = Path(scratch) / "record.jsonl"
            command = [sys.executable, str(program), kind.name, str(record), "--seed", str(seed)]
            subprocess.run(
                [*command, "--first", str(number), "--last", str(number)], env=variables(scratch), check=True
            )
            told = _lines(record)[-1]
            print(json.dumps(told, indent=1))
            failed |= "failed" in told
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
