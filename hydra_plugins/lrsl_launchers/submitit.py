"""Jobs in the queue of a Slurm cluster; and the same on this machine, to try out what would go there."""

from __future__ import annotations

import shutil
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.lrsl_launchers.each_for_itself import EachForItself, Outcomes, cores
from lrsl.errors import InputError
from lrsl.sweep.jobs import Job


class SubmititLauncher(EachForItself):
    """What both have in common: a job is read from a file, and what it prints goes to others."""

    prints_here = False
    cluster: str
    poll_seconds: float

    def outcomes(self, jobs: Sequence[Job]) -> Outcomes:
        """Submit the jobs together and ask after them until the last has ended."""
        from submitit.core.utils import FailedJobError, UncompletedJobError
        from submitit.helpers import as_completed

        executor = self.executor()
        try:
            with executor.batch():
                handles = [executor.submit(job) for job in jobs]
        except FailedJobError as error:
            raise InputError(f"{self.cluster} does not take the jobs: {' '.join(str(error).split())}") from None
        pending = {handle.job_id: job for handle, job in zip(handles, jobs, strict=True)}
        try:
            for handle in as_completed(handles, poll_frequency=self.poll_seconds):
                outcome: JobReturn | str
                try:
                    outcome = self.returned(handle)
                except UncompletedJobError:
                    outcome = f"it left no result, perhaps for lack of memory or time; see {handle.paths.folder}"
                yield pending.pop(handle.job_id), outcome
        finally:
            if pending:
                self.leave([handle for handle in handles if handle.job_id in pending])

    def executor(self) -> Any:
        """Return what submits a job with the settings of hydra.launcher."""
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from submitit import AutoExecutor

        settings = dict(self.settings)
        folder, retries = settings.pop("submitit_folder"), settings.pop("max_num_timeout", 0)
        executor = AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=retries)
        common = BaseQueueConf.__dataclass_fields__
        executor.update_parameters(
            **{key if key in common else f"{self.cluster}_{key}": value for key, value in settings.items()}
        )
        return executor

    def returned(self, handle: Any) -> JobReturn:
        """Return what an ended job returned."""
        result: JobReturn = handle.result()
        return result

    @abstractmethod
    def leave(self, handles: Sequence[Any]) -> None:
        """Do what is right with jobs that the user no longer waits for."""


class LocalLauncher(SubmititLauncher):
    """All jobs at a time on this machine."""

    cluster = "local"
    poll_seconds = 0.2

    def threads(self, jobs: int) -> int:
        """Return this machine's cores divided among all jobs."""
        return max(1, cores() // jobs)

    def returned(self, handle: Any) -> JobReturn:
        """Return what an ended job returned; on one machine there is no file to wait for."""
        from submitit.core.utils import UncompletedJobError

        if not handle.paths.result_pickle.exists():
            raise UncompletedJobError
        return super().returned(handle)

    def leave(self, handles: Sequence[Any]) -> None:
        """End them."""
        for handle in handles:
            handle.cancel()


class SlurmLauncher(SubmititLauncher):
    """The jobs as an array in Slurm's queue."""

    cluster = "slurm"
    poll_seconds = 5

    def threads(self, jobs: int) -> int | None:
        """Return the cores that a job is given."""
        given: int | None = self.settings["cpus_per_task"]
        return given

    def executor(self) -> Any:
        """Return what submits a job with the settings of hydra.launcher.

        Raises:
            InputError: this machine has no Slurm.
        """
        if shutil.which("sbatch") is None:
            raise InputError(
                "launcher=submitit_slurm finds no sbatch here; type the command on a login node of a cluster"
            )
        executor = super().executor()
        if given := self.threads(1):  # from Slurm 22.05 on srun need not take it over from sbatch
            executor.update_parameters(slurm_srun_args=[f"--cpus-per-task={given}"])
        return executor

    def leave(self, handles: Sequence[Any]) -> None:
        """Leave them in the queue, and say how they are ended."""
        arrays = sorted({handle.job_id.partition("_")[0] for handle in handles})
        print(f"Slurm goes on with the jobs; scancel {' '.join(arrays)} ends them", file=sys.stderr, flush=True)
