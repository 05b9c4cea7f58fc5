"""Keep the runs of a sweep: what tables, figures, significance and report read, and no more.

They go to experiments/results in a checkout, and to results in the working directory where this is installed.

python -m experiments.record multirun_outputs/sweeps/SWEEP banking77-minilm
python -m experiments.record multirun_outputs/sweeps/OF_MORE_SEEDS banking77-minilm --add
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.report.jobs import ReportedJob, commands, jobs_of
from experiments.runs import collect, significance
from experiments.runs.collect import Run, kept_file, predictions_file, read
from experiments.runs.configurations import configurations, home
from experiments.runs.portable import portable, portable_override
from lrsl.config import place
from lrsl.config.identity import file_name
from lrsl.errors import InputError
from lrsl.masking import masked_configuration
from lrsl.run import results
from lrsl.run.finished import CONFIGURATION
from lrsl.strict_json import parsed
from lrsl.sweep import summary

logger = logging.getLogger("experiments")

RECORDED = collect.recorded()
INDEX = "README.md"
HEADER = "| folder | command | commit | seeds | machine |"

REJUDGED = "judged_again"
"""The key of results.json under which stands at which commit the rules were fitted and judged again."""
AGAIN = "; judged again at "
OURS = "synthetic"  # the source of data that this package makes


@dataclass(frozen=True)
class Allowed:
    """What is recorded although it may not be what one wants to keep.

    Attributes:
        failed: a sweep of which jobs failed.
        dirty: runs made with changes that are not committed.
        replace: a name that is taken; what it holds goes.
        add: a name that is taken; what it holds stays, and has other seeds of the same configurations.
        texts: the texts of data that are not ours.
    """

    failed: bool = False
    dirty: bool = False
    replace: bool = False
    add: bool = False
    texts: bool = False


def record(
    folder: Path,
    name: str,
    allowed: Allowed = Allowed(),
    *,
    commit: str | None = None,
    machine: str | None = None,
    into: Path = RECORDED,
) -> str:
    """Copy the runs of a sweep below `into / name`, enter them in the index and return their row there.

    Args:
        folder: the sweep's folder, or one of runs.
        name: what the runs are kept under.
        allowed: what is recorded all the same.
        commit: the commit, for runs that did not note it.
        machine: the class of machine, for runs that did not note it.
        into: the folder of the recorded results.

    Raises:
        InputError: there are no runs, or some of them had better not be kept; then nothing is written.
    """
    jobs = [_portable(job) for job in jobs_of(folder)]
    _check_name(name, into, allowed)
    _check_jobs(folder, jobs, allowed, commit)
    if allowed.add:
        jobs, places = _added(jobs, into / name)
    else:
        places = _places([job.run for job in jobs if job.run is not None])
    described: set[Path] = set()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".") as scratch:
        made = Path(scratch) / name
        made.mkdir()
        for job in sorted(jobs, key=lambda job: job.run.seed if job.run is not None else -1):
            if job.run is None:
                continue
            place = made / places[job.run.folder]
            labels = place.parent not in described
            if _keep(job.run, job.overrides, place, texts=allowed.texts, labels=labels):
                described.add(place.parent)
        if allowed.add:
            summarise(jobs, places, made)
        for file in (summary.MARKDOWN, summary.CSV):
            if (folder / file).is_file() and not allowed.add:
                text = (folder / file).read_text(encoding="utf-8")
                (made / file).write_text(portable(text), encoding="utf-8")
        if (into / name).exists():
            shutil.rmtree(into / name)
        made.rename(into / name)
    row = _row(name, jobs, commit, machine)
    index = into / INDEX
    text = index.read_text(encoding="utf-8") if index.is_file() else ""
    index.write_text(with_row(text, name, row), encoding="utf-8")
    return row


def with_row(text: str, name: str, row: str) -> str:
    """Return an index with the row of a name: in the place of the one it had, else below the others."""
    lines = text.splitlines()
    if HEADER not in lines:
        lines += [*([""] if lines else []), HEADER, re.sub("[^|]+", "---", HEADER)]
    first = end = lines.index(HEADER) + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    taken = next((number for number in range(first, end) if lines[number].startswith(f"| `{name}/` |")), None)
    lines[end if taken is None else taken : end if taken is None else taken + 1] = [row]
    return "\n".join(lines) + "\n"


def _check_name(name: str, into: Path, allowed: Allowed) -> None:
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
        raise InputError(f"{name} is no name for a folder; use letters, digits and - . _ +, as in banking77-minilm")
    if allowed.add and allowed.replace:
        raise InputError("--add keeps what is recorded and --replace does not; give one of them")
    if (into / name).exists() and not (allowed.replace or allowed.add):
        raise InputError(f"{into / name} is there already; choose another name, --replace it, or --add seeds to it")
    if allowed.add and not (into / name).is_dir():
        raise InputError(f"{into / name} is not there, so that nothing can be added; leave out --add")


def _check_jobs(folder: Path, jobs: Sequence[ReportedJob], allowed: Allowed, commit: str | None) -> None:
    failed = [job for job in jobs if job.failed]
    if len(failed) == len(jobs):
        raise InputError(f"no run of {folder} has finished; run it again")
    if failed and not allowed.failed:
        which = f"{' '.join(failed[0].overrides) or 'a run'}: {failed[0].failed}"
        raise InputError(
            f"{len(failed)} of {len(jobs)} jobs of {folder} failed ({which}); run it again, which repeats nothing that "
            "has finished, or record what there is with --failed"
        )
    finished = [job.run for job in jobs if job.run is not None and job.run.finished]
    unknown = [run for run in finished if not (run.results.get("commit") or commit)]
    if unknown:
        raise InputError(f"{unknown[0].folder} does not say at which commit it was made; say so with --commit HASH")
    dirty = [run for run in finished if str(run.results.get("commit") or commit).endswith("+")]
    if dirty and not allowed.dirty:
        raise InputError(
            f"{dirty[0].folder} was made with changes that are not committed; commit them and run it with rerun=true, "
            "or record it all the same with --dirty"
        )


def _added(jobs: Sequence[ReportedJob], kept: Path) -> tuple[list[ReportedJob], dict[Path, Path]]:
    """Return recorded jobs and new ones, and where the run of each goes.

    Raises:
        InputError: the new are no other seeds of configurations that are recorded.
    """
    every = [*(_portable(job) for job in jobs_of(kept)), *jobs]
    runs = {job.run.folder: job.run for job in every if job.run is not None}
    old = [run for folder, run in runs.items() if folder.is_relative_to(kept)]
    places = {run.folder: run.folder.relative_to(kept) for run in old}
    for run in (run for folder, run in runs.items() if folder not in places):
        of = next((other for other in old if _is_one_configuration(run, other)), None)
        if of is None:
            raise InputError(f"{run.folder} is of no configuration that {kept} has runs of; record it by another name")
        place = places[of.folder].parent / f"seed{run.seed}"
        if place in places.values():
            raise InputError(f"{kept / place} is there already; add other seeds, or --replace all that is there")
        places[run.folder] = place
    return every, places


def _is_one_configuration(run: Run, other: Run) -> bool:
    """Tell whether two runs differ in the seed alone, as far as is known of both and folders aside."""
    return (
        (run.dataset, run.model) == (other.dataset, other.model)
        and (run.own_draw or run.results.get("data") == other.results.get("data"))
        and all(
            portable(run.settings[key]) == portable(other.settings[key])
            for key in run.settings.keys() & other.settings.keys()
        )
    )


def summarise(jobs: Sequence[ReportedJob], places: Mapping[Path, Path], folder: Path) -> None:
    """Write the summary of a sweep into a folder.

    Args:
        jobs: of the sweep.
        places: where the run of each lies below the folder.
        folder: where to.
    """
    lines = [
        {
            "overrides": list(job.overrides),
            "status": "finished" if job.run.finished else "failed",
            "error": job.run.error,
            "dataset": job.run.dataset,
            "model": job.run.model,
            "configuration": str(places[job.run.folder].parent),
            "seed": job.run.seed,
            "folder": str(job.run.folder),
        }
        for job in jobs
        if job.run is not None
    ]
    in_order = sorted(lines, key=lambda line: (line["configuration"], line["seed"]))
    summary.save(summary.summarise(in_order), folder)


def _left(job: ReportedJob) -> Run | None:
    """Return the run of a job, of a failed one too where its folder says so and not what an earlier one came to."""
    if job.run is not None or job.folder is None or not (job.folder / results.RESULTS).is_file():
        return job.run
    run = read(job.folder)
    return run if run is not None and not run.finished else None


def _portable(job: ReportedJob) -> ReportedJob:
    overrides = tuple(portable_override(override) for override in job.overrides if not override.startswith("rerun="))
    return replace(job, overrides=overrides, run=_left(job), config_dir=portable(job.config_dir))


def _places(runs: Sequence[Run]) -> dict[Path, Path]:
    """Return where each run goes: seed0, seed1, …, below a folder per configuration where there are several."""
    homes = {
        run.folder: one.folder for one in configurations(runs) for run in (*one.runs.values(), *one.failed.values())
    }
    homes |= {run.folder: home(run) for run in runs if run.folder not in homes}  # what another run stands for
    several = len({(run.dataset, run.model) for run in runs}) > 1
    places = {}
    for run in runs:
        path = homes[run.folder]
        names = [file_name(run.dataset), file_name(run.model)] if several else []
        alone = len(set(homes.values())) == 1
        places[run.folder] = Path(*names, *([] if alone else [path.name]), f"seed{run.seed}")
    return places


def _keep(run: Run, overrides: Sequence[str], place: Path, *, texts: bool, labels: bool) -> bool:
    """Copy what is read of a run, and return whether its labels.json, of which one per configuration will do, too."""
    (place / ".hydra").mkdir(parents=True)
    (place / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides), allow_unicode=True, width=10_000))
    configuration = _configuration(run.folder)
    if configuration is not None:
        _write_json(place / CONFIGURATION, portable(configuration))
    if not run.finished:
        _write_json(place / results.RESULTS, portable(dict(run.results)))
        return False
    shutil.copyfile(run.folder / results.RESULTS, place / results.RESULTS)
    ours = ((configuration or {}).get("dataset") or {}).get("source") == OURS
    predicted = predictions_file(run.folder)
    if predicted is None:
        logger.warning("%s has no %s, so significance over seeds cannot be known", run.folder, results.PREDICTIONS)
    else:
        if not (ours or texts):
            logger.warning("%s: its texts are left out; --texts keeps them", run.dataset)
        (place / f"{results.PREDICTIONS}.gz").write_bytes(_compressed(predicted, texts=ours or texts))
    if (suspects := kept_file(run.folder, results.SUSPECTS)) is not None:
        (place / f"{results.SUSPECTS}.gz").write_bytes(_compressed(suspects, texts=ours or texts))
    if (run.folder / results.SCORES).is_file():
        shutil.copyfile(run.folder / results.SCORES, place / results.SCORES)
    file = run.folder / results.LABELS
    if labels and file.is_file():
        shutil.copyfile(file, place / results.LABELS)
        return True
    return False


def _configuration(folder: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return masked_configuration(parsed((folder / CONFIGURATION).read_text(encoding="utf-8")))
    with suppress(OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):  # of a run that failed
        composed: Any = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"), resolve=True)
        return masked_configuration(dict(composed))
    return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compressed(path: Path, *, texts: bool) -> bytes:
    """Return lines of JSON as gzip."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        lines = list(file)
    if not texts:
        lines = [json.dumps(json.loads(line) | {"text": ""}, ensure_ascii=False) + "\n" for line in lines]
    return zipped(lines)


def zipped(lines: Sequence[str]) -> bytes:
    """Return lines as gzip, the same bytes for the same lines whenever and wherever it is done."""
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write("".join(lines).encode())
    return packed.getvalue()


def _row(name: str, jobs: Sequence[ReportedJob], commit: str | None, machine: str | None) -> str:
    runs = [job.run for job in jobs if job.run is not None and job.run.finished]
    commits = dict.fromkeys(str(run.results.get("commit") or commit) for run in runs)
    again = dict.fromkeys(str(run.results[REJUDGED]) for run in runs if REJUDGED in run.results)
    machines = dict.fromkeys(
        "; ".join(filter(None, [run.results.get("machine") or machine or "not noted", run.results.get("precision")]))
        for run in runs
    )
    cells = [
        f"`{name}/`",
        "<br>".join(f"`{command}`" for command in commands(jobs)) or "not noted",
        ", ".join(f"`{revision}`" for revision in commits)
        + (AGAIN + ", ".join(f"`{revision}`" for revision in again) if again else ""),
        significance.spans(sorted({run.seed for run in runs})),
        "<br>".join(machines),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Record a sweep, print its row of the index, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog=place.typed("record"),
        description=f"Keep the runs of a sweep in {RECORDED}, and enter them in the README there.",
        epilog=f"example: {place.typed('record')} multirun_outputs/sweeps/SWEEP banking77-minilm",
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP", help="a folder of multirun_outputs/sweeps, or of runs")
    parser.add_argument("name", metavar="NAME", help="the folder they are kept in, as in banking77-minilm")
    parser.add_argument("--commit", metavar="HASH", help="where they were made, if they did not note it")
    parser.add_argument("--machine", metavar="CLASS", help="what they were made on, if they did not note it")
    parser.add_argument("--failed", action="store_true", help="record a sweep of which runs failed")
    parser.add_argument("--dirty", action="store_true", help="record runs made with changes that were not committed")
    parser.add_argument("--replace", action="store_true", help="replace what is recorded under this name")
    parser.add_argument("--add", action="store_true", help="add seeds to what is recorded under this name")
    parser.add_argument("--texts", action="store_true", help="keep the texts of data that others have made")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    allowed = Allowed(given.failed, given.dirty, given.replace, given.add, given.texts)
    try:
        row = record(given.folder, given.name, allowed, commit=given.commit, machine=given.machine)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(row)
    files = [path for path in (RECORDED / given.name).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{len(files)} files, {size / 1e6:.2f} MB: {RECORDED / given.name}; entered in {RECORDED / INDEX}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
