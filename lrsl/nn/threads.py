"""How the threads of a computation wait for each other, and how many there are; set before torch is loaded.

Torch computes an operation on several threads, which meet at its end. A thread that is there early spins by default: it
keeps its core busy for a millisecond or more, so that the others are not woken up late. On a machine that others use
too, the thread it waits for may be the one whose core it takes, and a training step gets several times as slow. A short
spin gives both: it outlasts the wait for a thread that is running, and gives the core away where one is not.

The OpenMP library of torch reads all this once, when it is loaded. What a user has exported is left as it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables by which a user says how threads wait."""
NUMBER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user says how many threads there are; torch takes the larger."""
SPINS = 10_000
"""Rounds that a thread of GNU's OpenMP spins before it sleeps; its own default is 300,000."""
CGROUP = Path("/sys/fs/cgroup")
EXPORTED = any(name in os.environ for name in NUMBER)
"""Whether the user has said how many threads there are."""


def prepare() -> None:
    """Set the variables for this process, and for those it starts."""
    os.environ.update(variables(os.environ, cores(), quota()))


def variables(given: Mapping[str, str], cores: int, quota: float) -> dict[str, str]:
    """Return what to set beside the variables that are given.

    Args:
        given: the environment.
        cores: cores this process may run on.
        quota: cores' worth of time it may use; infinite where nothing limits it.
    """
    wanted: dict[str, str] = {}
    if not any(name in given for name in WAITING):
        # GNU's OpenMP goes by the second; LLVM's and Intel's know the first only
        wanted |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": str(SPINS)}
    if quota < cores and not any(name in given for name in NUMBER):  # else torch counts the cores itself
        wanted["OMP_NUM_THREADS"] = str(max(1, math.ceil(quota)))
    return wanted


def each_of(processes: int) -> int | None:
    """Return how many threads each of so many processes on this machine may use; None where the user has said so."""
    return None if EXPORTED else max(1, math.ceil(min(cores(), quota())) // processes)


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = CGROUP) -> float:
    """Return how many cores' worth of time a container's control group grants; infinite where it sets no limit.

    Args:
        root: where control groups are mounted, of either version.
    """
    try:
        granted, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            granted, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return math.inf
    if granted == "max" or int(granted) <= 0:
        return math.inf
    return int(granted) / int(period)
