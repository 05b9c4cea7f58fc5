"""The jobs a report is about: those of a sweep, or the runs in a folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from experiments.runs import collect
from experiments.runs.collect import Run
from lrsl.config import place
from lrsl.errors import InputError, said
from lrsl.masking import masked_command
from lrsl.paths import is_file, is_folder
from lrsl.run import results, shapes
from lrsl.strict_json import parsed
from lrsl.sweep import journal


@dataclass(frozen=True)
class ReportedJob:
    """One job: a run that left results, or one that failed before it could.

    Attributes:
        overrides: what the command line said of it; empty where nobody noted it.
        composed: whether these are all of its overrides, and not just one that no job could be composed with.
        run: what it left; None where it left nothing.
        failed: why it failed; empty when it finished.
        folder: its folder; None where it could not be composed.
        config_dir: the user's own folder of YAML files that it was composed with; empty where there was none.
    """

    overrides: tuple[str, ...]
    run: Run | None
    failed: str = ""
    composed: bool = True
    folder: Path | None = None
    config_dir: str = ""


def jobs_of(folder: Path) -> list[ReportedJob]:
    """Return the jobs of a sweep, each once, or of the runs below a folder that is none.

    Raises:
        InputError: the folder does not exist, its `runs.jsonl` is damaged, or there are no runs.
    """
    if not is_folder(folder):
        raise InputError(f"{folder} is not a folder; name a sweep or a folder that holds the results of runs")
    jobs = _swept(folder) if (folder / journal.RUNS).is_file() else [_left_by(run) for run in collect.collect([folder])]
    if not jobs:
        raise InputError(f"{folder} holds no runs; name a sweep or a folder that holds the results of runs")
    return jobs


def commands(jobs: Sequence[ReportedJob]) -> list[str]:
    """Return the command that runs the jobs again, or as few as do; none where nobody noted what was run."""
    by_config_dir: dict[str, dict[tuple[str, ...], None]] = {}
    for job in jobs:
        if job.overrides and job.composed:
            by_config_dir.setdefault(job.config_dir, {})[job.overrides] = None
    return [
        shlex.join([*place.typed("run").split(), *(["--config-dir", config_dir] if config_dir else []), *arguments])
        for config_dir, noted in by_config_dir.items()
        for arguments in _commands(list(noted))
    ]


def _commands(noted: Sequence[tuple[str, ...]]) -> list[Sequence[str]]:
    whole = _sweep(noted)
    if whole is not None:
        return [whole]
    but_seed: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for overrides in noted:
        others = tuple(override for override in overrides if not override.startswith("seed="))
        but_seed.setdefault(others, []).append(overrides)
    return [command for alike in but_seed.values() for command in _fewest(alike)]


def _fewest(noted: Sequence[tuple[str, ...]]) -> list[Sequence[str]]:
    whole = _sweep(noted)
    return [whole] if whole is not None else list(noted)


def _sweep(noted: Sequence[tuple[str, ...]]) -> list[str] | None:
    """Return what is typed for all of these combinations of values at once; None where nothing stands for just them."""
    parted = [[override.partition("=")[::2] for override in overrides] for overrides in noted]
    if len({tuple(key for key, _ in pairs) for pairs in parted}) != 1:
        return None
    values: dict[str, dict[str, None]] = {}
    for key, value in chain(*parted):
        values.setdefault(key, {})[value] = None
    if math.prod(map(len, values.values())) != len(noted):
        return None
    swept = [f"{key}={','.join(of_key)}" for key, of_key in values.items()]
    return [*swept, "-m"] if len(noted) > 1 else swept


def _swept(folder: Path) -> list[ReportedJob]:
    jobs: dict[object, ReportedJob] = {}
    places: dict[object, int] = {}
    path = folder / journal.RUNS
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); run the sweep again") from None
    for number, text in enumerate(texts, 1):
        try:
            line = parsed(text)
            if key := shapes.wrong(line, _LINE, _MAY_BE_IN_LINE):
                raise ValueError(f"{key} is missing or of the wrong kind")
        except ValueError as error:
            raise InputError(f"{path}, line {number} is damaged ({error}); run the sweep again") from None
        where = _moved(Path(line["folder"]), folder) if "folder" in line else None
        finished = line["status"] == "finished" and where is not None and is_file(where / results.RESULTS)
        run = collect.read(where) if finished and where is not None else None
        why = line.get("error") or "its results.json is missing or damaged"
        why = run.error or "" if run is not None else said(why)
        own = _config_dir(where)
        jobs[where or number] = ReportedJob(_shown(line["overrides"]), run, why, where is not None, where, own)
        places[where or number] = line.get("job", number)
    return [jobs[key] for key in sorted(jobs, key=places.__getitem__)]  # not in the order they ended in


def _shown(overrides: Any) -> tuple[str, ...]:
    """Return overrides without secrets; earlier versions noted passwords in addresses."""
    return tuple(masked_command([str(override) for override in overrides]))


_LINE = {"status": shapes.text, "overrides": shapes.listed(shapes.text)}
_MAY_BE_IN_LINE = {"folder": shapes.text, "error": shapes.maybe(shapes.text), "job": shapes.number}


def _moved(noted: Path, folder: Path) -> Path:
    """Return a run's folder, beside the sweep's where all of them have been moved since."""
    beside = folder.parent.parent.joinpath(*noted.parts[-4:])
    return beside if not is_folder(noted) and is_folder(beside) else noted


def _left_by(run: Run) -> ReportedJob:
    path = run.folder / ".hydra" / "overrides.yaml"
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        overrides = []
    return ReportedJob(
        _shown(overrides if isinstance(overrides, list) else []),
        run,
        run.error or "",
        folder=run.folder,
        config_dir=_config_dir(run.folder),
    )


def _config_dir(folder: Path | None) -> str:
    """Return the `--config-dir` of a run as Hydra noted it, from the working directory if it lay below that."""
    if folder is None:
        return ""
    try:
        read = yaml.load((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"), _LOADER)
        runtime = read["hydra"]["runtime"]
        given = next(Path(one["path"]) for one in runtime["config_sources"] if one["provider"] == "command-line")
        return str(given.relative_to(runtime["cwd"]) if given.is_relative_to(runtime["cwd"]) else given)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, LookupError, TypeError, AttributeError, StopIteration):
        return ""


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
