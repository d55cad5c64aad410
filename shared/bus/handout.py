"""Who is given which secrets: a directory for each process, with what it needs and nothing else.

    nats.nk              the NKey's seed (a host has cox-observer.nk and cox-executor.nk)
    nats-ca.pem          what the server's certificate is signed by
    nats-cert.pem, nats-cert.key   its own
    signing.seeds        the gate's alone: what it signs deployment tokens with
    trusted.keys         the public halves, by which a host knows the gate

A host's files are called as its units load them: they can go to /etc/credstore as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.bus.credentials import SEED
from shared.bus.keyring import FLEET
from shared.bus.roles import HOST_ROLES, Identity
from shared.errors import InputError
from shared.files import write_private
from shared.signing import KEYS, SEEDS, SigningKeys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shared.bus.authority import Authority
    from shared.bus.keyring import Keyring

BUS = "bus"
"""The server itself, which is no member."""
OPERATOR = Identity("operator")
GATE = Identity("gate")
HOST_PREFIX = "cox-"


class Handout:
    """Gives secrets out, below `out`. Giving twice changes nothing; what was lost is made anew."""

    def __init__(self, keyring: Keyring, authority: Authority, out: Path) -> None:
        self._keyring = keyring
        self._authority = authority
        self._out = out

    def fleet(self, hosts: Sequence[str], server_names: Sequence[str]) -> list[str]:
        """Everything that a fleet with these hosts needs; who got something new."""
        new = (
            [BUS]
            if self._authority.issue(BUS, self._out / BUS, prefix="nats-", server=server_names)
            else []
        )
        # First, because every host is given the public keys.
        signing = self._signing().ensure()
        new += [
            str(member) for member in FLEET if self._member(member) or (signing and member == GATE)
        ]
        new += [host for host in hosts if self.host(host)]
        return new

    def host(self, host: str) -> bool:
        """One host's secrets; whether anything is new. Raises InputError for a bad name."""
        place = self._out / host
        seeds = [
            self._seed(Identity(role, host), place / f"{HOST_PREFIX}{role}.nk")
            for role in HOST_ROLES
        ]
        cert = self._authority.issue(host, place, prefix=f"{HOST_PREFIX}nats-")
        trusted = self._trust(place)
        return any(seeds) or cert or trusted

    def rotate_signing(self, *, retire: bool) -> list[str]:
        """One more signing key, or none but the newest; whose files have changed.

        Raises InputError where there is no key yet.
        """
        if retire:
            self._signing().retire()
        else:
            self._signing().rotate()
        hosts = {member.host for member in self._keyring.members() if member.host is not None}
        here = [host for host in sorted(hosts) if (self._out / host).is_dir()]
        return [str(GATE), *(host for host in here if self._trust(self._out / host))]

    def _signing(self) -> SigningKeys:
        """The seeds are the gate's; only the public halves stay with the other public keys."""
        return SigningKeys(self._out / str(GATE) / SEEDS, self._keyring.directory / KEYS)

    def _trust(self, place: Path) -> bool:
        """Have the gate's public keys there; whether they are others than before."""
        keys = self._keyring.directory / KEYS
        if not keys.exists():
            raise InputError(
                "the gate has no signing key yet",
                expected=str(keys),
                advice="Provision the fleet first: python -m shared.bus provision.",
            )
        target = place / f"{HOST_PREFIX}{KEYS}"
        if target.exists() and target.read_bytes() == keys.read_bytes():
            return False
        write_private(target, keys.read_bytes())
        return True

    def _member(self, member: Identity) -> bool:
        place = self._out / str(member)
        seed = self._seed(member, place / SEED, keep=member == OPERATOR)
        cert = self._authority.issue(str(member), place, prefix="nats-")
        return seed or cert

    def _seed(self, member: Identity, target: Path, *, keep: bool = False) -> bool:
        """A seed stands in one place; the operator's here, too, for the server provisions by it."""
        here = self._keyring.seed_file(member)
        if target.exists() and member in self._keyring.members() and here.exists() == keep:
            return False
        if member in self._keyring.members() and not here.exists():
            self._keyring.revoke(member)
        self._keyring.enroll(member)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(target, here.read_bytes())
        if not keep:
            here.unlink()
        return True
