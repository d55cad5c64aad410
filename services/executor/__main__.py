"""`python -m services.executor --role host|gate|guard`: the only privileged service."""

from __future__ import annotations

import argparse
import sys


def _run() -> int:
    parser = argparse.ArgumentParser(prog="services.executor", description=__doc__)
    parser.add_argument(
        "--role",
        choices=("host", "gate", "guard"),
        required=True,
        help="host: load policies on this machine; gate: build and prove them; "
        "guard: give this machine back to the kernel's default when the executor cannot",
    )
    # Each role imports only what it needs: a host has no compiler, the gate no libbpf loader, the
    # guard no package at all.
    role = parser.parse_args().role
    if role == "guard":
        from services.executor.guard.__main__ import guard_role  # noqa: PLC0415

        return guard_role()
    from shared.service import main  # noqa: PLC0415

    if role == "host":
        from services.executor.host.service import host_role  # noqa: PLC0415

        return main("executor", host_role, of_host=True)
    from services.executor.gate.service import gate_role  # noqa: PLC0415

    return main("executor", gate_role, of_host=False)


if __name__ == "__main__":
    sys.exit(_run())
