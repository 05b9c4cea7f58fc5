"""Some jobs at a time on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.lrsl_launchers.each_for_itself import KILLED, EachForItself, Outcomes, cores, reason
from lrsl.errors import InputError
from lrsl.sweep.jobs import Job, end_with

PATIENCE = 1.5  # seconds that a job has to say where it is tracked that it was stopped


class JoblibLauncher(EachForItself):
    """`n_jobs` processes, each of which does one job after the other."""

    def threads(self, jobs: int) -> int:
        """Return this machine's cores divided among the jobs that run at a time."""
        return max(1, cores() // self.at_a_time(jobs))

    def outcomes(self, jobs: Sequence[Job]) -> Outcomes:
        """Hand each job to the next free process; one that was killed is replaced."""
        from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

        def new() -> Any:
            """Return a pool of one process: a pool breaks as a whole."""
            return ProcessPoolExecutor(1, initializer=end_with, initargs=(os.getpid(),))

        pools = [new() for _ in range(self.at_a_time(len(jobs)))]
        free: SimpleQueue[Any] = SimpleQueue()
        for pool in pools:
            free.put(pool)

        def run(job: Job) -> JobReturn | str:
            pool = free.get()
            try:
                returned: JobReturn = pool.submit(job).result()
                return returned
            except BrokenProcessPool:
                pool = new()
                pools.append(pool)
                return KILLED
            except (Exception, SystemExit) as error:
                return reason(error)
            finally:
                free.put(pool)

        with ThreadPoolExecutor(len(pools)) as threads:
            running = {threads.submit(run, job): job for job in jobs}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                left = not all(future.done() for future in running)
                threads.shutdown(wait=False, cancel_futures=True)
                if left:
                    end([process for pool in pools for process in (pool._processes or {}).values()])
                for pool in pools:
                    pool.shutdown(kill_workers=left)

    def at_a_time(self, jobs: int) -> int:
        """Return how many of so many jobs run at a time.

        Raises:
            InputError: `n_jobs` is 0.
        """
        n_jobs = int(self.settings["n_jobs"])
        if n_jobs == 0:
            raise InputError("hydra.launcher.n_jobs=0 runs nothing; give how many jobs run at a time, or -1: all cores")
        return min(n_jobs if n_jobs > 0 else max(1, cores() + 1 + n_jobs), jobs)


def end(processes: Sequence[Any]) -> None:
    """Tell processes to stop, and wait a little until they have."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
