"""Who a folder or a marker belongs to: a process on a machine, and whether it still runs."""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path


def mine() -> str:
    """Return the name of this process: host, number and, where the system tells, when it was started."""
    return f"{host()}-{os.getpid()}-{_start(os.getpid())}"


def host() -> str:
    """Return the name of this machine, fit for a file."""
    return re.sub(r"[^\w.]+", "_", socket.gethostname()) or "_"


def of(name: str) -> tuple[str, int, str] | None:
    """Return host, number and start of the process a name stands for; None where it is no such name."""
    found = re.fullmatch(r"([\w.]+)-(\d+)-(\d*)", name)
    return None if found is None else (found[1], int(found[2]), found[3])


def runs(name: str) -> bool | None:
    """Tell whether the process of a name still runs; None where this machine cannot tell."""
    found = of(name)
    if found is None or found[0] != host() or sys.platform == "win32":
        return None
    try:
        os.kill(found[1], 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and another user's
    return _start(found[1]) == found[2]


def _start(number: int) -> str:
    """Return when a process was started, in the system's ticks; nothing where the system does not tell."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    return ""
