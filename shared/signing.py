"""Signing keys: the gate's seeds, the public keys that hosts know it by, and bytes under one.

    signing.seeds   what the gate signs with, mode 0600; nobody else ever needs it
    trusted.keys    the public halves, which every host is given

Each is a line of epoch and 64 hexadecimal digits. A key made later has a higher epoch. During a
rotation both files hold several: the gate signs with the newest that a host knows.

Ed25519 (RFC 8032) and nothing else: no message says which algorithm it is to be checked with.
What is signed are bytes, which are checked before anybody decodes them.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import msgspec
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from shared.errors import InputError, TokenError
from shared.files import write_private
from shared.messages import Signed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

SEEDS, KEYS = "signing.seeds", "trusted.keys"

_LINE = re.compile(r"(?P<epoch>[1-9]\d{0,8}) (?P<key>[0-9a-f]{64})")


class Key(msgspec.Struct, frozen=True, order=True):
    """A seed or a public key, of 32 bytes, with its epoch."""

    epoch: int
    raw: bytes

    @property
    def public(self) -> Key:
        """The public half of a seed."""
        return Key(self.epoch, bytes(SigningKey(self.raw).verify_key))

    @property
    def id(self) -> str:
        """How a public key is called: 16 hexadecimal digits of its hash."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


class Signer:
    """Signs with one of these seeds."""

    def __init__(self, seeds: Iterable[Key]) -> None:
        self._seeds = {seed.public.id: seed for seed in sorted(seeds)}

    @classmethod
    def read(cls, path: Path) -> Signer:
        """The seeds in a file. Raises InputError."""
        return cls(read_keys(path, "the gate's signing keys"))

    def newest(self, known: Collection[str] | None = None) -> Key:
        """The newest seed, among those whose public keys are known. Raises TokenError."""
        usable = [seed for key, seed in self._seeds.items() if known is None or key in known]
        if not usable:
            raise TokenError(
                "the host knows none of the gate's keys",
                expected=f"one of {', '.join(self._seeds)}",
                got=", ".join(known or ()) or "none",
                advice=f"Give the host the present {KEYS} and restart its executor.",
            )
        return max(usable)

    def sign(self, payload: bytes, seed: Key) -> Signed:
        """Sign exactly these bytes."""
        signature = SigningKey(seed.raw).sign(payload).signature
        return Signed(payload=payload, signature=signature, key=seed.public.id)

    @property
    def trusted(self) -> Trusted:
        """The public halves."""
        return Trusted(seed.public for seed in self._seeds.values())


class Trusted:
    """Checks signatures by these public keys."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.id: key for key in keys}

    @classmethod
    def read(cls, path: Path) -> Trusted:
        """The public keys in a file. Raises InputError."""
        return cls(read_keys(path, "the gate's public keys"))

    @property
    def ids(self) -> list[str]:
        """Which keys are known."""
        return sorted(self._keys)

    def check(self, signed: Signed) -> int:
        """The epoch of the key that has signed these very bytes. Raises TokenError."""
        key = self._keys.get(signed.key)
        if key is None:
            raise TokenError(
                "it is signed with an unknown key",
                expected=f"one of {', '.join(self.ids) or 'none at all'}",
                got=signed.key[:16],
                advice="After a rotation hosts need the new file of public keys.",
            )
        try:
            VerifyKey(key.raw).verify(signed.payload, signed.signature)
        except (CryptoError, ValueError) as error:
            raise TokenError(
                "the signature is not of these bytes",
                expected=f"an Ed25519 signature by key {key.id}",
                got=f"{len(signed.signature)} other bytes",
            ) from error
        return key.epoch


class SigningKeys:
    """Both files, as they are made and changed: where the fleet's secrets are made."""

    def __init__(self, seeds: Path, keys: Path) -> None:
        self.seeds = seeds
        self.keys = keys

    def ensure(self) -> bool:
        """Have a key; whether it is new. What was lost is made anew, under a higher epoch."""
        if self.seeds.exists() and self.keys.exists():
            return False
        held = read_keys(self.seeds, "the gate's signing keys") if self.seeds.exists() else []
        self._write(held or [self._fresh()])
        return True

    def rotate(self) -> int:
        """One more key, beside those that there are; its epoch. Raises InputError without any."""
        seed = self._fresh()
        self._write([*read_keys(self.seeds, "the gate's signing keys"), seed])
        return seed.epoch

    def retire(self) -> int:
        """Forget all but the newest key; how many those were. Raises InputError without any."""
        held = read_keys(self.seeds, "the gate's signing keys")
        self._write([max(held)])
        return len(held) - 1

    def _fresh(self) -> Key:
        epochs = [
            key.epoch
            for path in (self.seeds, self.keys)
            if path.exists()
            for key in read_keys(path, "keys")
        ]
        return Key(max(epochs, default=0) + 1, os.urandom(32))

    def _write(self, seeds: list[Key]) -> None:
        """Public keys first: a host may know a key that nobody uses, not the other way round."""
        for path in (self.seeds, self.keys):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.keys, _text(seed.public for seed in seeds), 0o644)
        write_private(self.seeds, _text(seeds))


def read_keys(path: Path, what: str) -> list[Key]:
    """The keys in a file, at least one. Raises InputError, which never quotes a seed."""
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{what} cannot be read",
            expected=str(path),
            got=getattr(error, "strerror", None) or "bytes that are no ASCII",
            advice="`cox up` and `python -m shared.bus provision` make them.",
        ) from error
    found = [match for match in map(_LINE.fullmatch, filter(None, lines)) if match]
    if not found or len(found) != len(list(filter(None, lines))):
        raise InputError(
            f"{what} are not valid",
            expected="lines of an epoch and 64 hexadecimal digits",
            got=f"other text in {path}",
        )
    return [Key(int(match["epoch"]), bytes.fromhex(match["key"])) for match in found]


def _text(keys: Iterable[Key]) -> bytes:
    return "".join(f"{key.epoch} {key.raw.hex()}\n" for key in sorted(keys)).encode()
