"""`python -m lrsl.store`: list and prune what stages have made."""

import sys

from lrsl.commands.store import main

if __name__ == "__main__":
    sys.exit(main())
