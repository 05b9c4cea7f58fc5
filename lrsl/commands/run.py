"""From the command line to one run, or to a sweep of them.

lrsl run --help
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lrsl import files, stopping
from lrsl.commands import closed, logs, processes, studies
from lrsl.config import composition, hydra_settings, identity, mistakes, noted, own, place
from lrsl.errors import InputError, said
from lrsl.masking import masked_command, without_credentials
from lrsl.nn import threads
from lrsl.run import locks
from lrsl.sweep import journal
from lrsl.text import visible

if TYPE_CHECKING:
    from lrsl.sweep import summary

LOCK = ".lock"
"""The file of the lock that is held on a run's folder while something is written there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says and return the exit status.

    Args:
        arguments: what is typed after the command; None takes it from `sys.argv`, as Hydra does.
    """
    if processes.follows():
        place = processes.found(os.environ)
        assert place is not None
        return processes.follow(place)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions over instead of printing them
    os.environ.pop(journal.FOLDER_VARIABLE, None)
    logs.mask()
    logging.raiseExceptions = False  # a log file that a full disk does not take is worth no traceback per line
    status = 0
    try:
        rest, folders = own.take(sys.argv[1:] if arguments is None else arguments)
        own.use(folders)
        rest = sorted(rest, key=("-m", "--multirun").__contains__)  # Hydra takes no key=value after it
        sys.argv[1:] = [*(word for folder in folders for word in ("--config-dir", str(folder))), *rest]
        with hydra_settings.checked():
            launch()
    except (InputError, *mistakes.COMPOSITION_ERRORS) as error:
        print(said(error if isinstance(error, InputError) else mistakes.explain(error)), file=sys.stderr)
        status = 1
    except (OSError, ValueError, journal.NotOpenedError) as error:  # ValueError where logging cannot open its file
        if (reason := files.trouble(error)) is None:
            raise
        print(said(reason), file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except stopping.Stopped as stop:
        journal.leave_out(f"not finished: stopped by {signal.Signals(stop.number).name}")
        journal.conclude()
        raise
    finally:
        swept = os.environ.get(journal.FOLDER_VARIABLE)
        try:
            if swept:
                noted.mask(noted.of_sweep(Path(swept).parents[1]))
            failed = journal.conclude(track if status != 130 else None)
            if swept and (Path(swept) / journal.RUNS).is_file():
                report(Path(swept))
            processes.dismiss(status or int(failed > 0 or sys.exc_info()[0] is not None))
        finally:
            journal.release()
    return status or int(failed > 0)


@hydra.main(version_base="1.3", config_path=str(composition.CONF), config_name="config")
def launch(composed: DictConfig) -> dict[str, Any] | None:
    """Do one job; a failing one ends a single run, but not a sweep, to which is returned what became of the job."""
    logs.mask()  # this may be a process of its own
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    noted.mask(noted.of_job(folder, hydra_config.output_subdir))
    if journal.under_way():
        noted.mask(noted.of_sweep(Path(hydra_config.sweep.dir)))
    configuration = identity.plain(composed)
    error, new = attempt(composed, configuration, folder)
    if not journal.under_way():
        return sys.exit(1) if error else None
    line = {
        "job": hydra_config.job.num,
        "dataset": configuration["dataset"]["name"],
        "model": configuration["model"]["name"],
        "configuration": identity.digest(configuration),
        "seed": configuration["seed"],
        "folder": str(folder),
        "overrides": list(hydra_config.overrides.task),
        "status": "failed" if error else "finished",
        "error": error,
    }
    if new:
        line["logger"] = configuration["logger"]  # where the run is tracked, which a finished one is not again
    journal.record(line)
    return line


def attempt(composed: DictConfig, configuration: dict[str, Any], folder: Path) -> tuple[str | None, bool]:
    """Do one job; return in one line why it failed, which is reported at once, and whether there was anything to do.

    A job whose folder another process is at work in waits for it.
    """
    try:
        with locks.lock(folder / LOCK, waiting=f"waiting for another run, which is at work in {folder}"):
            return _attempt(composed, configuration, folder)
    except OSError as error:
        if (reason := files.trouble(error)) is None:
            raise
        print(said(f"{_job_name()}{reason}"), file=sys.stderr, flush=True)
        return said(reason), True


def _attempt(composed: DictConfig, configuration: dict[str, Any], folder: Path) -> tuple[str | None, bool]:
    try:
        return None, do(composed, configuration, folder)
    except InputError as error:
        reason = str(error)
        _drop_frames(error)
        print(f"{said(_job_name())}{reason}", file=sys.stderr, flush=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into an exit
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            sys.exit(closed.give_up())  # for which no job is to blame, and of which Hydra would make more than a line
        refused = files.trouble(
            error, [folder, *([Path(configuration["cache_dir"])] if configuration["cache"] else [])]
        )
        reason = said(refused or " ".join(f"{type(error).__name__}: {error}".split())[:500])
        print(f"{said(_job_name())}{reason}", file=sys.stderr)
        if refused is None:
            whole = "".join(traceback.format_exception(error))
            print(visible(without_credentials(whole)), end="", file=sys.stderr)
        sys.stderr.flush()
        _drop_frames(error)
    finally:
        _release()
    from lrsl.run import finished

    with suppress(OSError):  # where there is no room, there is none for this either
        finished.record_failure(configuration, folder, reason)
    return reason, True


def do(composed: DictConfig, configuration: dict[str, Any], folder: Path) -> bool:
    """Train, rerank and measure, unless that has been done; tell whether it had not."""
    config = composition.to_config(composed)
    print(said(f"reading {config.dataset.name} …"), flush=True)
    threads.prepare()
    from lrsl.run import finished, provenance, results

    known = None if config.rerun else finished.results_of(config, configuration, folder)
    if known is not None:
        print(f"already finished: {visible(str(folder))} (rerun=true runs it again)", flush=True)
        results.show(known)
        return False
    processes.prepare(config)
    made_of = provenance.provenance(configuration)  # now: someone may change weights or code while this trains
    from lrsl.nn import process_state  # torch, now that there is something to do
    from lrsl.run import pipeline

    def note(reason: str) -> None:
        finished.record_failure(configuration, folder, reason)

    with process_state.restored(), processes.computing(config, configuration, folder, note):
        pipeline.run(config, folder, figures)
    finished.record_finish(configuration, folder, made_of)
    return True


def figures(folder: Path, out: Path) -> dict[str, Path]:
    """Draw the figures of the run in a folder, where there is what it takes; else say what is missing."""
    try:
        draw = studies.load("figures.of_run").draw
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        print("The run's figures are not drawn: matplotlib is missing; pip install 'lrsl[experiments]' adds it.")
        return {}
    drawn: dict[str, Path] = draw(folder, out)
    return drawn


def track(lines: Sequence[Mapping[str, Any]], summaries: Sequence[summary.Summary], folder: Path) -> None:
    """Log a sweep's summary beside its runs."""
    from lrsl.sweep import tracking

    tracking.track(lines, summaries, folder)


def report(folder: Path) -> None:
    """Write a sweep's report beside its summary, or say why there is none: the sweep itself is done."""
    try:
        write = studies.load("report").write  # matplotlib, now that there is something to draw
        print(f"report: {write(folder)}", flush=True)
        return
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed; pip install 'lrsl[experiments]' adds it"
    except KeyboardInterrupt:
        reason = "interrupted"
    except Exception as error:
        reason = said(" ".join(f"{type(error).__name__}: {error}".split())[:500])
    print(f"no report: {reason} ({place.typed('report')} {folder} makes it)", file=sys.stderr, flush=True)


def _output_is_closed() -> bool:
    try:
        print(flush=True)  # fails again if it was this pipe that failed
    except BrokenPipeError:
        return True
    return False


def _job_name() -> str:
    return (
        f"{' '.join(masked_command(HydraConfig.get().overrides.task)) or 'the only job'} failed: "
        if journal.under_way()
        else ""
    )


def _drop_frames(error: BaseException | None) -> None:
    """Let go of what the frames of a failed job hold, its model above all."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _release() -> None:
    pipeline = sys.modules.get("lrsl.run.pipeline")
    if pipeline is not None:
        pipeline.release()
    else:
        gc.collect()
