"""`python -m lrsl`: the command `lrsl`."""

import sys

from lrsl.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
