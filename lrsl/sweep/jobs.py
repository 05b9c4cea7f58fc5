"""One job of a sweep in a process of its own: all that process is sent, and how many threads it may use there.

The launchers of `hydra_plugins/` send it. Its process need not find those: this package is all it has to import.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig, open_dict

from lrsl import stopping
from lrsl.sweep.journal import FOLDER_VARIABLE

WATCHED_EVERY = 0.5  # seconds
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",  # torch takes the larger of these two
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",  # tokenizers
)


@dataclass(frozen=True)
class Job:
    """A job, to be pickled, sent and called. Of the sender's environment it carries nothing but `environment`.

    Attributes:
        directory: where the sweep was typed, which relative paths start from.
        environment: variables set before anything else is done.
        number: its place in the sweep, from 0.
        overrides: what its command line would be.
        context: where Hydra finds the configuration.
        config: the sweep's configuration.
        task: what is run with the job's configuration.
        state: Hydra's own state.
    """

    directory: Path
    environment: dict[str, str]
    number: int
    overrides: list[str]
    context: HydraContext
    config: DictConfig
    task: TaskFunction
    state: dict[str, Any]

    def __call__(self) -> JobReturn:
        """Compose the job's configuration and run the task in the job's folder; return what became of it."""
        os.environ.update(self.environment)  # torch reads it when the task imports it, and never again
        os.chdir(self.directory)
        Singleton.set_state(self.state)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        try:
            with stopping.handled(lambda number: f"job {self.number} stopped by {signal.Signals(number).name}"):
                return run_job(
                    hydra_context=self.context,
                    task_function=self.task,
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
        except stopping.Stopped as stop:
            os._exit(stop.status)  # whoever started this process sees that it has ended; there is nothing to return

    def checkpoint(self) -> Any:
        """Return what submitit queues again when Slurm takes the node away: the same, which goes on from there."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415  (only there with the extra)

        return DelayedSubmission(self)


def end_with(process: int) -> None:
    """End this process soon after the one that started it, however that ends: nobody is left to take a result.

    A thread looks after it, on every system alike. Linux could send a signal, but does so when the thread ends that
    has started this process, which may be long before its process does.

    Args:
        process: the id of the process that has started this one.
    """

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(WATCHED_EVERY)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="lrsl-watch", daemon=True).start()


@dataclass
class RaySettings:
    """What conf/launcher/ray.yaml sets and explains. It is part of Hydra's state, so it stands here."""

    _target_: str = "hydra_plugins.lrsl_launchers.ray.RayLauncher"
    address: str | None = MISSING
    num_cpus: int = MISSING
    num_gpus: float | None = MISSING


def environment(threads: int | None) -> dict[str, str]:
    """Return the variables of a job of a sweep that keep it to so many threads; None leaves that to the libraries.

    What the user has exported as OMP_NUM_THREADS goes before, for all libraries alike.
    """
    number = os.environ.get("OMP_NUM_THREADS") or (str(threads) if threads else None)
    limits = dict.fromkeys(THREAD_VARIABLES, number) if number else {}
    return {FOLDER_VARIABLE: "", **limits}  # the job knows of the sweep, but writes nothing into its folder
