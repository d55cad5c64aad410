"""Whether a token is good here and now: pure, and the only place that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.executor.token import MAX_PAYLOAD, Token, decode_signed
from shared.errors import TokenError, TokenPendingError

if TYPE_CHECKING:
    from collections.abc import Container

    from shared.messages import Signed, TokenRequest
    from shared.signing import Trusted

CLOCK_SLACK_NS = 60 * 1_000_000_000
"""How far this host's clock and the gate's may be apart."""


def verify(
    signed: Signed,
    *,
    asked: TokenRequest,
    trusted: Trusted,
    seen_epoch: int,
    consumed: Container[str],
    now_unix_ns: int,
) -> Token:
    """The token, if it is the gate's own answer to what this host has asked for just now.

    Its signature is checked over the bytes as they came, before anything is read from them. Raises
    TokenError with the first thing that is wrong, TokenPendingError if that is nothing but a clock.
    """
    if len(signed.payload) > MAX_PAYLOAD:
        raise TokenError(
            "the token is too long",
            expected=f"at most {MAX_PAYLOAD} bytes",
            got=f"{len(signed.payload)}",
        )
    epoch = trusted.check(signed)
    token = decode_signed(signed, Token)
    _same("version", 1, token.v)
    _same("key's epoch", epoch, token.epoch)
    if epoch < seen_epoch:
        raise TokenError(
            "the token is of a key that was replaced",
            expected=f"epoch {seen_epoch} or a later one",
            got=str(epoch),
        )
    _same("nonce", asked.nonce, token.nonce)
    if token.nonce in consumed:
        raise TokenError("the token was used before", expected="a fresh nonce", got=token.nonce[:8])
    _check_place(token, asked)
    _check_object(token, asked)
    if token.loads > asked.loads or token.max_duration_s > asked.max_duration_s:
        raise TokenError(
            "the token allows more than was asked for",
            expected=f"{asked.loads} loads within {asked.max_duration_s:g} s",
            got=f"{token.loads} within {token.max_duration_s:g} s",
        )
    _check_time(token, now_unix_ns)
    return token


def _check_place(token: Token, asked: TokenRequest) -> None:
    _same("host", asked.host, token.host)
    _same("machine-id", asked.machine_id, token.machine_id)
    _same("boot-id", asked.boot_id, token.boot_id)
    _same("kernel", asked.kernel, token.kernel)
    _same("kernel's BTF", asked.btf_sha256, token.btf_sha256)
    _same("cgroup", "", token.cgroup)


def _check_object(token: Token, asked: TokenRequest) -> None:
    _same("object", asked.artifact.sha256, token.object_sha256)
    _same("source", asked.artifact.source_sha256, token.source_sha256)
    _same("toolchain", asked.artifact.toolchain, token.toolchain)
    _same("headers", asked.artifact.headers_sha256, token.headers_sha256)
    _same("policy", asked.policy, token.policy)
    _same("parameters", asked.parameters, token.parameters)
    _same("purpose", asked.purpose, token.purpose)
    _same("optimization", asked.optimization, token.plan_id)
    _same("request", asked.request_sha256, token.request_sha256)


def _check_time(token: Token, now_unix_ns: int) -> None:
    if now_unix_ns + CLOCK_SLACK_NS < token.nbf_unix_ns:
        wrong = "is not valid yet", token.nbf_unix_ns - now_unix_ns
    elif now_unix_ns - CLOCK_SLACK_NS >= token.exp_unix_ns:
        wrong = "has expired", now_unix_ns - token.exp_unix_ns
    else:
        return
    # It was signed a moment ago: one of two clocks is wrong, perhaps until it has found a server.
    raise TokenPendingError(
        f"the token {wrong[0]}",
        expected=f"clocks that differ by less than {CLOCK_SLACK_NS / 1e9:.0f} s",
        got=f"{wrong[1] / 1e9:.0f} s",
        advice="Look at the clocks of the host and of the gate.",
    )


def _same(what: str, expected: object, got: object) -> None:
    if expected != got or type(expected) is not type(got):
        raise TokenError(
            f"the token is for another {what}", expected=str(expected)[:80], got=str(got)[:80]
        )
