"""The door: from the command line to one run, or to a sweep of them; the same as `lrsl run`.

python run.py --help
"""

import os
import signal
import sys
from typing import Any


def leave(number: int, _: Any) -> None:
    """End at once when told to stop while nothing is loaded yet; `lrsl.stopping` takes over from here."""
    os.write(2, b"stopped before anything was trained\n")
    os._exit(128 + number)


if __name__ == "__main__":
    for _signal, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(_signal) is _default:
            signal.signal(_signal, leave)

from lrsl.commands import main as commands  # noqa: E402


def main() -> int:
    """Run what the command line says and return the exit status."""
    return commands.main(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
