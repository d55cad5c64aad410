"""The keys of a bus: one NKey (Ed25519) for each member, in a directory that only we can read.

    <member>.nk     the secret seed, mode 0600: what its process is given, and nobody else
    <member>.pub    the public key: what the server knows, so a seed may be moved to its host

A member is in as long as its public key is here.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, get_args

import nkeys

from shared.bus.roles import HOST_ROLES, Identity, Role
from shared.errors import InputError
from shared.files import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FLEET = tuple(Identity(role) for role in get_args(Role) if role not in HOST_ROLES)
"""The members that do not belong to one host."""


class Keyring:
    """The keys in `directory`, which is made with its first key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def enroll(self, member: Identity) -> Path:
        """Have a key for a member, a new one if it has none; the file with its seed.

        A member whose seed was moved away keeps its public key, and gets no second one: revoke it
        first. Raises InputError.
        """
        seed_file = self.seed_file(member)
        if seed_file.exists():
            return seed_file
        if self._public_file(member).exists():
            raise InputError(
                f"{member} has a key already, and its seed is not here",
                expected=str(seed_file),
                advice="If that key is lost, revoke it and enroll the host again.",
            )
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        public = public_key(seed)
        # The public half last: a crash between the two leaves a seed that opens nothing.
        write_private(seed_file, seed)
        write_private(self._public_file(member), public.encode(), 0o644)
        return seed_file

    def revoke(self, member: Identity) -> None:
        """Forget a member's key. Raises InputError if it has none."""
        if not self._public_file(member).exists():
            raise InputError(
                f"{member} has no key",
                expected="one of the members: " + ", ".join(map(str, self.members())),
                got=str(member),
            )
        for path in (self._public_file(member), self.seed_file(member)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def members(self) -> dict[Identity, str]:
        """Everybody who is in, with the public key."""
        found = {
            Identity.parse(path.stem): path.read_text(encoding="ascii").strip()
            for path in sorted(self.directory.glob("*.pub"))
        }
        return dict(sorted(found.items(), key=lambda item: str(item[0])))

    def enroll_all(self, members: Iterable[Identity]) -> None:
        """Have a key for each of them."""
        for member in members:
            if not self._public_file(member).exists():
                self.enroll(member)

    def seed_file(self, member: Identity) -> Path:
        """Where a member's seed is, if it is still here."""
        return self.directory / f"{member}.nk"

    def _public_file(self, member: Identity) -> Path:
        return self.directory / f"{member}.pub"


def public_key(seed: bytes) -> str:
    """The public half of a seed, as NATS writes it (U…). Raises InputError."""
    try:
        pair = nkeys.from_seed(bytearray(seed.strip()))
    except Exception as error:  # its errors have no class in common, nor PyNaCl's and base64's
        raise InputError(
            "this is no NKey seed",
            expected="a user's seed, which begins with SU",
            got="other bytes",
        ) from error
    public: str = pair.public_key.decode()
    pair.wipe()
    return public
