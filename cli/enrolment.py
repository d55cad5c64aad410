"""`cox keys`, `cox hosts enroll` and `cox hosts revoke`: who is let onto the bus that runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.fleet.joining import expect_host, forget_host
from cli.fleet.keys import enroll_host, host_members, keyring, signing
from cli.hosts import revert_host
from cli.output import console, plain_table, print_json, show
from cli.session import connected
from shared.errors import InputError
from shared.messages import SchedulerState
from shared.signing import KEYS

if TYPE_CHECKING:
    from pathlib import Path


def list_members(*, as_json: bool) -> None:
    """Show everybody who has a key, and where its seed is."""
    ring = keyring()
    members = ring.members()
    if as_json:
        rows = [
            {"member": str(member), "public_key": public, "seed": _seed(ring.seed_file(member))}
            for member, public in members.items()
        ]
        print_json({"type": "keys", "members": rows})
        return
    if not members:
        console().print("No keys yet: the first `cox up` makes them.")
        return
    table = plain_table()
    for column in ("member", "seed"):
        table.add_column(column, overflow="fold")
    for member in members:
        table.add_row(str(member), _seed(ring.seed_file(member)) or "not here")
    show(table)


def rotate_signing(*, retire: bool) -> None:
    """A new key for deployment tokens beside the old one, or the newest alone.

    Raises InputError where there is none yet.
    """
    keys = signing()
    told = console(stderr=True)
    if retire:
        told.print(f"{keys.retire()} old signing key(s) are gone.")
    else:
        told.print(f"There is a signing key of epoch {keys.rotate()} now, beside the old ones.")
    told.print(f"Give every host {keys.keys} as cox-{KEYS} and restart its executor.")


async def enroll(name: str, *, as_json: bool) -> None:
    """Make a host's keys and its place on the bus. Raises InputError, BusUnavailableError."""
    async with connected() as bus:
        keys = enroll_host(name)
        await expect_host(bus, name)
    if as_json:
        files = {target: str(file) for target, file in keys.items()}
        print_json({"type": "enrolled", "host": name, "keys": files})
        return
    console().print(f"{name} is let in. Move its seeds there, as root's alone, and copy the rest:")
    for target, file in keys.items():
        console().print(f"  {file}  →  /etc/credstore/{target}", soft_wrap=True)
    console().print(f"and name it in /etc/coxswain/host.env:  COX_HOST={name}")


async def revoke(name: str, *, as_json: bool) -> None:
    """Throw a host out. Raises InputError if it has no keys."""
    ring = keyring()
    here = [member for member in host_members(name) if member in ring.members()]
    if not here:
        hosts = sorted({member.host for member in ring.members() if member.host})
        raise InputError(
            f"host {name} is not enrolled",
            expected=", ".join(hosts) or "a host (none is enrolled)",
            got=name,
        )
    async with connected() as bus:
        answer = await revert_host(bus, name)
        for member in here:
            ring.revoke(member)
        await forget_host(bus, name)
    problem = "" if isinstance(answer, SchedulerState) else answer["problem"]
    if as_json:
        print_json({"type": "revoked", "host": name, "reverted": not problem, "problem": problem})
        return
    console().print(f"{name} is out: its keys open nothing any more.")
    if problem:
        console().print(f"It did not go back to the kernel's default before: {problem}")


def _seed(file: Path) -> str:
    return str(file) if file.exists() else ""
