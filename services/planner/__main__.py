"""`python -m services.planner`: decides what to try, owns every optimization."""

import sys

from services.planner.service import planner
from shared.service import main

if __name__ == "__main__":
    sys.exit(main("planner", planner, of_host=False))
