"""`python -m services.executor.guard`: what `python -m services.executor --role guard` runs."""

from __future__ import annotations

import os
import socket
import sys

from services.executor.guard.hardening import harden
from services.executor.guard.interventions import Interventions
from services.executor.guard.kernel import Kernel
from services.executor.guard.places import socket_path, state_dir
from services.executor.guard.service import Guard
from services.executor.guard.victim import Victim


def guard_role() -> int:
    """Guard this host until the process ends; 1 if it may not do what that takes."""
    try:
        harden()
        interventions = Interventions(state_dir() / "interventions")
        guard = Guard(Kernel(), socket_path(), interventions, Victim())
    except OSError as error:
        sys.stderr.write(
            f"guard: {error}; expected root with CAP_SYS_NICE and CAP_IPC_LOCK, or with "
            "the limits of deploy/host/units/cox-guard.service. "
            "Nothing of ours is loaded without a guard.\n"
        )
        return 1
    _tell_systemd("READY=1")
    guard.run()
    return 0


def _tell_systemd(state: str) -> None:
    """sd_notify(3): the executor is started once the guard listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.connect(address.replace("@", "\0", 1))
        connection.send(state.encode())


if __name__ == "__main__":
    sys.exit(guard_role())
