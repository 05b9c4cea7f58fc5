"""What all launchers have in common: no job can take another along, and what becomes of each is written down."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from lrsl import stopping
from lrsl.config.mistakes import COMPOSITION_ERRORS, explain
from lrsl.sweep import journal
from lrsl.sweep.jobs import Job, environment

Outcomes: TypeAlias = Generator[tuple[Job, JobReturn | str], None, None]
"""Jobs as they end, with what they returned, or with the reason why they returned nothing."""

KILLED = "its process was killed, perhaps for lack of memory"

log = logging.getLogger(__name__)


class EachForItself(Launcher):
    """Runs jobs in processes of their own.

    Attributes:
        prints_here: whether all that a job prints appears where the sweep was started.
        settings: what stands under hydra.launcher, as plain data.
    """

    prints_here = True

    def __init__(self, **settings: Any) -> None:
        self.settings: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives every launcher."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs and return what came back, in their order; those that were lost return nothing."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        state, variables = Singleton.get_state(), environment(self.threads(len(job_overrides)))
        jobs = [
            Job(Path.cwd(), variables, number, list(overrides), self.context, self.config, self.task, state)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        for job in jobs:
            log.info("\t#%d : %s", job.number, " ".join(filter_overrides(job.overrides)))
        returned = {}
        stopping.at(stopping.SWEEP)
        with closing(self.outcomes(jobs)) as outcomes:
            for job, outcome in outcomes:
                line = _line(outcome)
                if isinstance(line, str):
                    journal.lose(job.overrides, line, job.number)
                    continue
                assert isinstance(outcome, JobReturn)
                returned[job.number] = outcome
                journal.record(line)
                if line["error"] and not self.prints_here:
                    journal.report(job.overrides, line["error"])
        return [returned[number] for number in sorted(returned)]

    @abstractmethod
    def threads(self, jobs: int) -> int | None:
        """Return how many threads each of so many jobs may use; None leaves that to the machine it runs on."""

    @abstractmethod
    def outcomes(self, jobs: Sequence[Job]) -> Outcomes:
        """Run the jobs; closed before the last has ended, end the others."""


def cores() -> int:
    """Return how many cores of this machine may be used, by affinity and by a container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def reason(error: BaseException) -> str:
    """Return in one sentence what an error of a job says."""
    if isinstance(error, COMPOSITION_ERRORS):
        return explain(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _line(outcome: JobReturn | str) -> dict[str, Any] | str:
    """Return the line that a job returned for the sweep's record, or why it returned none."""
    if isinstance(outcome, str):
        return outcome
    try:
        line: dict[str, Any] = outcome.return_value
        return line
    except Exception as error:
        return reason(error)
