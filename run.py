"""The door: from the command line to one run, or to a sweep of them; the same as `lrsl run`.

python run.py --help
"""

import sys

from lrsl.commands import main as commands


def main() -> int:
    """Run what the command line says and return the exit status."""
    return commands.main(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
