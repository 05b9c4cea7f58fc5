"""What to do where nobody reads the output any more, as in `lrsl run | head -1`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

STATUS = 141
"""The exit status: what a shell gives for a program that SIGPIPE ends."""


def give_up() -> int:
    """Say so in a sentence, let whatever is still written go nowhere, and return the exit status."""
    print("the output was closed before all of it was written", file=sys.stderr, flush=True)
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return STATUS
