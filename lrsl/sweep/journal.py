"""A sweep from outside its jobs: its folder, what became of each job, and the summary at the end.

The folder is in an environment variable. A line of `runs.jsonl` in it says what became of a job. A job writes its line
itself in the process that started the sweep; from another it is returned there, so that only one process writes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from lrsl.config.identity import file_name
from lrsl.config.mistakes import COMPOSITION_ERRORS, explain
from lrsl.errors import said
from lrsl.masking import masked, masked_command
from lrsl.run import locks

if TYPE_CHECKING:
    from lrsl.sweep.summary import Summary

    Track = Callable[[Sequence[Mapping[str, Any]], Sequence[Summary], Path], None]

planned: list[list[str]] = []
"""The overrides of each job of the sweep that this process has started, in the order of their numbers."""

FOLDER_VARIABLE = "LRSL_SWEEP"
RUNS = "runs.jsonl"

_held = ExitStack()  # the lock on the folder of the sweep that this process has started


class NotOpenedError(BaseException):
    """The folder of a sweep cannot be opened, for the reason in `__cause__`; over an `Exception` Hydra would go on."""


class SweepStart(Callback):
    """Opens the sweep's folder before the first job, and takes out values that no job could be composed with.

    Hydra composes all jobs before it starts one, so that one mistyped value would keep the others from running.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the folder; report values that cannot be composed and leave them out.

        Raises:
            NotOpenedError: the folder cannot be made or written to.
        """
        overrides = list(config.hydra.overrides.task)
        try:
            _open(Path(config.hydra.sweep.dir), overrides)
        except OSError as error:
            raise NotOpenedError from error
        kept, reasons = composable(overrides, list(config.hydra.overrides.hydra), config.hydra.job.config_name)
        for override, reason in reasons.items():
            lose([override], reason)
        config.hydra.overrides.task = kept
        planned[:] = jobs_of(kept)


def composable(
    overrides: Sequence[str], of_hydra: Sequence[str] = (), config_name: str = "config"
) -> tuple[list[str], dict[str, str]]:
    """Return the overrides without the swept values that cannot be composed, and the reason for each of those.

    Each value is tried by itself, next to what is not swept: a sum of compositions, not a product. A key none of whose
    values can be composed is left as it is, for Hydra to report: then there is nothing to run.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed = [*of_hydra, *(str(override.input_line) for override in parsed if not _is_choice(override))]
    kept: list[str] = []
    reasons: dict[str, str] = {}
    for override in parsed:
        line = str(override.input_line)
        if _is_choice(override):
            values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            wrong = {value: reason for value in values if (reason := _why_not(config_name, [*fixed, value]))}
            if len(wrong) < len(values):
                reasons |= wrong
                right = (value.partition("=")[2] for value in values if value not in wrong)
                line = f"{override.get_key_element()}={','.join(right)}" if wrong else line
        kept.append(line)
    return kept, reasons


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job that a sweep's overrides come to, in the order in which Hydra numbers them."""
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if _is_choice(override)
        else [str(override.input_line)]
        for override in OverridesParser.create().parse_overrides(list(overrides))
    ]
    return [list(job) for job in itertools.product(*values)]


def leave_out(reason: str) -> list[list[str]]:
    """Record the jobs of which nobody knows what became, as failed for a reason, and return their overrides."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return []
    with (Path(folder) / RUNS).open(encoding="utf-8") as file:
        known = {int(json.loads(line)["job"]) for line in file}
    left = [number for number in range(len(planned)) if number not in known]
    for number in left:
        record({"job": number, "overrides": planned[number], "status": "failed", "error": reason})
    return [planned[number] for number in left]


def record(line: Mapping[str, Any]) -> None:
    """Append what became of a job to the sweep's `runs.jsonl`, in the process that knows its folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        line = {**masked(line), "overrides": masked_command(line["overrides"])}
        with (Path(folder) / RUNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def report(overrides: Sequence[str], reason: str) -> None:
    """Say at once that a job failed."""
    print(said(f"{' '.join(masked_command(overrides))} failed: {reason}"), file=sys.stderr, flush=True)


def lose(overrides: Sequence[str], reason: str, number: int = -1) -> None:
    """Report and record a job that could not say itself what became of it."""
    report(overrides, reason)
    record({"job": number, "overrides": list(overrides), "status": "failed", "error": reason})


def under_way() -> bool:
    """Tell whether this process runs a sweep, or a job of one."""
    return FOLDER_VARIABLE in os.environ


def conclude(track: Track | None = None) -> int:
    """Print and save the sweep's summary; return how many of its jobs failed, 0 where there was no sweep.

    Args:
        track: logs what became of the jobs and the summaries. Whatever goes wrong there, the sweep is done.
    """
    name = os.environ.pop(FOLDER_VARIABLE, None)
    if name is None:
        return 0
    folder = Path(name)
    with (folder / RUNS).open(encoding="utf-8") as file:
        lines = sorted(map(json.loads, file), key=lambda line: int(line["job"]))  # not in the order they ended in
    if lines:
        from lrsl.sweep import summary  # noqa: PLC0415  (numpy and scipy are slow to import)

        summaries = summary.summarise(lines)
        summary.show(summaries)
        summary.save(summaries, folder)
        print(f"summary: {folder / summary.MARKDOWN}", flush=True)
        if track is not None:
            try:
                track(lines, summaries, folder)
            except Exception as error:
                print(said(f"The summary is not logged: {' '.join(str(error).split())}."), file=sys.stderr, flush=True)
    else:
        (folder / RUNS).unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    return sum(line["status"] == "failed" for line in lines)


def release() -> None:
    """Leave the sweep's folder to others."""
    _held.close()


def _open(sweep_dir: Path, overrides: Sequence[str]) -> None:
    shown = [override for override in masked_command(overrides) if not override.startswith("rerun=")]
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:8]
    folder = (sweep_dir / "sweeps" / f"{file_name(' '.join(shown))}-{digest}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    release()  # of a sweep that this process was through with
    _held.enter_context(
        locks.lock(folder / ".lock", waiting=f"waiting for the same sweep, which is at work in {folder}")
    )
    (folder / RUNS).write_text("", encoding="utf-8")
    os.environ[FOLDER_VARIABLE] = str(folder)


def _is_choice(override: Override) -> bool:
    return bool(override.is_sweep_override() and override.is_discrete_sweep())


def _why_not(config_name: str, overrides: list[str]) -> str:
    try:
        GlobalHydra.instance().config_loader().load_configuration(config_name, overrides, run_mode=RunMode.RUN)
    except COMPOSITION_ERRORS as error:
        return explain(error)
    return ""
