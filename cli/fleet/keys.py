"""The keys of the bus that `cox up` runs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.bus.credentials import Credentials
from shared.bus.keyring import Keyring
from shared.bus.roles import HOST_ROLES, Identity
from shared.settings import state_home
from shared.signing import KEYS, SEEDS, SigningKeys

if TYPE_CHECKING:
    from pathlib import Path


def keyring() -> Keyring:
    """Everybody's keys, in the state home."""
    return Keyring(state_home() / "keys")


def signing() -> SigningKeys:
    """What the gate signs deployment tokens with, and the public halves for every host."""
    home = keyring().directory
    return SigningKeys(home / SEEDS, home / KEYS)


def operator() -> Credentials:
    """What opens that bus to its operator, once `cox up` has made the key."""
    return Credentials(key=keyring().seed_file(Identity("operator")))


def host_members(host: str) -> list[Identity]:
    """Who a host is on the bus."""
    return [Identity(role, host) for role in HOST_ROLES]


def enroll_host(host: str) -> dict[str, Path]:
    """Let a host in: its keys, by the names under which its units look for them.

    Those are in deploy/host/units; systemd.exec(5) says where they are looked for.
    """
    keyring().enroll_all(host_members(host))
    signing().ensure()
    return host_credentials(host)


def host_credentials(host: str) -> dict[str, Path]:
    """The same for keys that are here already: for a bus whose machine is another."""
    files = {f"cox-{m.role}.nk": keyring().seed_file(m) for m in host_members(host)}
    files[f"cox-{KEYS}"] = signing().keys
    return {name: file for name, file in files.items() if file.exists()}
