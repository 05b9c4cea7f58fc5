"""`python -m lrsl.commands.follow`: a process that computes runs together with the one that has started it."""

import os
import sys

from lrsl.commands.processes import follow, found

if __name__ == "__main__":
    place = found(os.environ)
    assert place is not None, "the variables that say which process this is are missing"
    sys.exit(follow(place))
