"""`python -m lrsl.label_texts`: label texts written by a language model."""

import sys

from lrsl.commands.label_texts import main

if __name__ == "__main__":
    sys.exit(main())
