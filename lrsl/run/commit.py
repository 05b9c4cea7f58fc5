"""Which commit of this repository a run is made at."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def commit() -> str | None:
    """Return the checked-out commit, in short, with a `+` where tracked files differ from it.

    None where this package does not lie in a checkout of its own repository, or git cannot tell. The first call decides
    for the whole process: what is committed while it trains is not what it has loaded.
    """
    if not (ROOT / ".git").exists():  # else git would find whatever repository lies around an installed package
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, env=environment)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return told.stdout.strip() or None
