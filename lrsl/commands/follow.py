"""`python -m lrsl.commands.follow`: a process that computes runs together with the one that has started it."""

from __future__ import annotations

import os
import sys
import threading
import time

from lrsl.commands.processes import STARTED_BY, follow, found
from lrsl.commands.watching import TICK


def main() -> int:
    """Compute until there is no more to compute, or the process that leads has gone; return the exit status."""
    place, leader = found(os.environ), int(os.environ[STARTED_BY])
    assert place is not None, "the variables that say which process this is are missing"

    def watch() -> None:
        while os.getppid() == leader:
            time.sleep(TICK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return follow(place)


if __name__ == "__main__":
    sys.exit(main())
