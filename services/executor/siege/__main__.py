"""`python -m services.executor.siege OBJECT [ORDERS]`: prints a Measured as a line of JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from services.executor.siege.besieger import besiege
from services.executor.siege.measured import Orders
from shared.errors import CoxswainError


def _run() -> int:
    artifact = Path(sys.argv[1]).read_bytes()
    orders = msgspec.json.decode(sys.argv[2] if sys.argv[2:] else "{}", type=Orders)
    try:
        measured = besiege(artifact, orders)
    except CoxswainError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_run())
