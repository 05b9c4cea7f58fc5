"""As many jobs at a time as Ray has cores and GPUs for, on this machine or on a cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from hydra_plugins.lrsl_launchers.each_for_itself import KILLED, EachForItself, Outcomes, cores, reason
from lrsl import stopping
from lrsl.errors import InputError
from lrsl.sweep.jobs import Job, RaySettings


class RayLauncher(EachForItself):
    """Hands all jobs to Ray, which runs them as there is room."""

    prints_here = False  # Ray forwards it, but not the last of it where Ray ends soon after

    def threads(self, jobs: int) -> int:
        """Return the cores that Ray keeps for each job."""
        kept: int = self.settings["num_cpus"]
        return kept

    def outcomes(self, jobs: Sequence[Job]) -> Outcomes:
        """Start Ray or connect to it, and leave it again; a Ray that was started ends, as do jobs still running."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        from ray.exceptions import OutOfMemoryError, RayError, WorkerCrashedError

        address = self.settings["address"]
        here = {} if address else {"num_cpus": cores(), "include_dashboard": False}
        ray.init(address or "local", logging_level=logging.WARNING, **here)
        try:
            run = ray.remote(name="job", max_retries=0, **self.needs(ray.cluster_resources()))(Job.__call__)
            pending = {run.remote(job): job for job in jobs}
            while pending:
                try:
                    (reference,), _ = ray.wait(list(pending), num_returns=1)
                except BaseException:
                    stopping.check()  # Ray makes an interruption of its own of whatever a signal raises
                    raise
                outcome: JobReturn | str
                try:
                    outcome = ray.get(reference)
                except (WorkerCrashedError, OutOfMemoryError):
                    outcome = KILLED
                except RayError as error:
                    outcome = reason(getattr(error, "cause", None) or error)
                yield pending.pop(reference), outcome
        finally:
            ray.shutdown()

    def needs(self, there: dict[str, float]) -> dict[str, float]:
        """Return what to ask of Ray for a job, out of what there is.

        Raises:
            InputError: this machine cannot give it, so that the jobs would wait forever.
        """
        gpus = self.settings["num_gpus"]
        gpus = min(1, there.get("GPU", 0)) if gpus is None else gpus
        wanted = {"num_cpus": self.settings["num_cpus"], "num_gpus": gpus}
        for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            if not self.settings["address"] and wanted[key] > there.get(name, 0):
                most = f"{there.get(name, 0):g}"
                raise InputError(f"hydra.launcher.{key}={wanted[key]:g} is too large; this machine has {most}")
        return wanted


if importlib.util.find_spec("ray"):  # without it, launcher=ray is unknown to Hydra as the others are without theirs
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RaySettings, provider="lrsl_launchers")
