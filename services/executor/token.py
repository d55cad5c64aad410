"""What the gate signs: where an artifact has come from, and leave to load it on one machine.

Both are JSON with a `type`, so that neither can stand for the other. A token says everything about
one load: which bytes with which parameters, where, for what, in whose name, when.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from shared.errors import TokenError
from shared.messages import Made, Purpose

if TYPE_CHECKING:
    from shared.messages import Signed

MAX_PAYLOAD = 64 * 1024
"""Bytes; ten times what a token has."""


class Provenance(
    msgspec.Struct, frozen=True, kw_only=True, tag="provenance", forbid_unknown_fields=True
):
    """The gate has built this object, of this source, with these tools."""

    v: int = 1
    object_sha256: str
    source_sha256: str
    policy: str
    version: str
    toolchain: str
    headers_sha256: str
    sandboxed: bool = False
    """It was besieged in the gate's sandbox first."""
    made: Made | None = None
    """The hooks that it was built of, where they do not ship."""


class Token(msgspec.Struct, frozen=True, kw_only=True, tag="token", forbid_unknown_fields=True):
    """Leave to load one object on one machine in one boot, once asked for with this nonce."""

    v: int = 1
    plan_id: str
    """The optimization."""
    request_sha256: str
    purpose: Purpose
    policy: str
    parameters: dict[str, int]
    object_sha256: str
    source_sha256: str
    toolchain: str
    headers_sha256: str
    host: str
    machine_id: str
    boot_id: str
    kernel: str
    btf_sha256: str
    cgroup: str = ""
    """Empty: the whole host, which is all that there is today."""
    loads: int
    max_duration_s: float
    nbf_unix_ns: int
    exp_unix_ns: int
    """Between these two it may be redeemed; loads may follow for `max_duration_s`."""
    nonce: str
    epoch: int


S = TypeVar("S", Provenance, Token)


def decode_signed(signed: Signed, kind: type[S]) -> S:
    """What was signed, once its signature has been checked. Raises TokenError."""
    try:
        return msgspec.json.decode(signed.payload, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise TokenError(
            "what was signed is something else", expected=f"a {kind.__name__}", got=str(error)
        ) from error
