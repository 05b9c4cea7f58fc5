"""`python -m lrsl.data`: a data set's card."""

import sys

from lrsl.commands.card import main

if __name__ == "__main__":
    sys.exit(main())
