"""`python -m services.learner`: judges trials, remembers outcomes."""

import sys

from services.learner.service import learner
from shared.service import main

if __name__ == "__main__":
    sys.exit(main("learner", learner, of_host=False))
