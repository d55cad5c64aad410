"""`python -m services.observer`: sees this host; needs no privilege."""

import sys

from services.observer.service import observer
from shared.service import main

if __name__ == "__main__":
    sys.exit(main("observer", observer, of_host=True))
