"""Which tokens a host takes: its own, fresh, unchanged, signed by the gate; no others."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.executor.host.books import Books, Redeemed
from services.executor.host.permit import redeem
from services.executor.host.verify import CLOCK_SLACK_NS, verify
from services.executor.token import MAX_PAYLOAD, Provenance, Token
from shared.errors import TokenError
from shared.messages import Artifact, Signed, TokenRequest
from shared.signing import Key, Signer, Trusted

SEED, OTHER = Key(3, b"\1" * 32), Key(3, b"\2" * 32)
SIGNER = Signer([SEED])
TRUSTED = SIGNER.trusted
NOW = 1_800_000_000 * 1_000_000_000

ASKED = TokenRequest(
    host="h1",
    nonce="0" * 64,
    machine_id="machine",
    boot_id="boot",
    kernel="7.3.4",
    btf_sha256="b" * 64,
    optimization="o1",
    request_sha256="c" * 64,
    purpose="trial",
    policy="latency",
    parameters={"slice_ns": 3},
    artifact=Artifact(
        sha256="a" * 64,
        size_bytes=1,
        policy="latency",
        version="1.0.0",
        source_sha256="d" * 64,
        toolchain="clang 19",
        headers_sha256="e" * 64,
    ),
    loads=12,
    max_duration_s=600.0,
)
TOKEN = Token(
    plan_id="o1",
    request_sha256="c" * 64,
    purpose="trial",
    policy="latency",
    parameters={"slice_ns": 3},
    object_sha256="a" * 64,
    source_sha256="d" * 64,
    toolchain="clang 19",
    headers_sha256="e" * 64,
    host="h1",
    machine_id="machine",
    boot_id="boot",
    kernel="7.3.4",
    btf_sha256="b" * 64,
    loads=12,
    max_duration_s=600.0,
    nbf_unix_ns=NOW,
    exp_unix_ns=NOW + 120 * 1_000_000_000,
    nonce="0" * 64,
    epoch=3,
)


def sign(token: object, seed: Key = SEED) -> Signed:
    return SIGNER.sign(msgspec.json.encode(token), seed)


def check(signed: Signed, **other: Any) -> Token:
    usual: dict[str, Any] = {
        "asked": ASKED,
        "trusted": TRUSTED,
        "seen_epoch": 3,
        "consumed": {},
        "now_unix_ns": NOW,
    }
    return verify(signed, **{**usual, **other})


def test_what_the_gate_answers_is_taken() -> None:
    assert check(sign(TOKEN)) == TOKEN
    less = replace(TOKEN, loads=1, max_duration_s=1.0)
    assert check(sign(less)) == less


ANOTHER = {
    "plan_id": "o2",
    "request_sha256": "f" * 64,
    "purpose": "deploy",
    "policy": "fair",
    "parameters": {"slice_ns": 4},
    "object_sha256": "f" * 64,
    "source_sha256": "f" * 64,
    "toolchain": "clang 18",
    "headers_sha256": "f" * 64,
    "host": "h2",
    "machine_id": "other",
    "boot_id": "earlier",
    "kernel": "7.3.5",
    "btf_sha256": "f" * 64,
    "cgroup": "/system.slice",
    "loads": 13,
    "max_duration_s": 601.0,
    "nonce": "1" * 64,
    "epoch": 2,
    "v": 2,
}


@pytest.mark.parametrize("field", ANOTHER)
def test_a_token_for_anything_else_is_refused_though_its_signature_is_good(field: str) -> None:
    token = replace(TOKEN, **{field: ANOTHER[field]})
    with pytest.raises(TokenError):
        check(sign(token))


def test_every_field_is_looked_at() -> None:
    looked_at = {*ANOTHER, "nbf_unix_ns", "exp_unix_ns"}
    assert looked_at == set(Token.__struct_fields__)


def test_a_replaced_key_signs_nothing_any_more() -> None:
    with pytest.raises(TokenError, match="replaced"):
        check(sign(TOKEN), seen_epoch=4)


def test_a_consumed_nonce_never_counts_again() -> None:
    with pytest.raises(TokenError, match="used before"):
        check(sign(TOKEN), consumed={TOKEN.nonce: None})


@given(st.integers(min_value=-10 * CLOCK_SLACK_NS, max_value=10 * CLOCK_SLACK_NS))
def test_it_holds_in_its_time_give_or_take_the_clocks(off_ns: int) -> None:
    now = NOW + off_ns
    good = TOKEN.nbf_unix_ns - CLOCK_SLACK_NS <= now < TOKEN.exp_unix_ns + CLOCK_SLACK_NS
    if good:
        assert check(sign(TOKEN), now_unix_ns=now) == TOKEN
    else:
        with pytest.raises(TokenError, match=r"expired|not valid yet"):
            check(sign(TOKEN), now_unix_ns=now)


@given(st.data())
def test_one_bit_is_enough_to_spoil_it(data: st.DataObject) -> None:
    signed = sign(TOKEN)
    part = data.draw(st.sampled_from(["payload", "signature"]))
    spoiled = bytearray(getattr(signed, part))
    bit = data.draw(st.integers(0, 8 * len(spoiled) - 1))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TokenError, match="not of these bytes"):
        check(replace(signed, **{part: bytes(spoiled)}))


@given(
    st.builds(
        Signed,
        payload=st.binary(max_size=300),
        signature=st.binary(max_size=80),
        key=st.sampled_from([SEED.public.id, "", "none"]),
    )
)
def test_whatever_comes_is_refused_in_words(signed: Signed) -> None:
    with pytest.raises(TokenError):
        check(signed)


def text_again() -> bytes:
    return json.dumps(json.loads(msgspec.json.encode(TOKEN)), indent=1).encode()


def test_the_same_text_written_anew_is_not_what_was_signed() -> None:
    assert msgspec.json.decode(text_again(), type=Token) == TOKEN
    with pytest.raises(TokenError, match="not of these bytes"):
        check(replace(sign(TOKEN), payload=text_again()))


PUBLIC = SEED.public.raw
PAYLOAD = msgspec.json.encode(TOKEN)
FORGED = {
    "stripped": b"",
    "zeros": bytes(64),
    "half": sign(TOKEN).signature[:32],
    "doubled": sign(TOKEN).signature * 2,
    # Where a checker is told the algorithm, the public key would serve as a shared secret.
    "hmac": hmac.new(PUBLIC, PAYLOAD, hashlib.sha512).digest(),
    "hash": hashlib.sha512(PAYLOAD).digest(),
    # R is the neutral element and S zero: good for a public key of small order only.
    "neutral": b"\1" + bytes(63),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_forged_signatures_are_refused(forgery: str) -> None:
    with pytest.raises(TokenError, match="not of these bytes"):
        check(Signed(payload=PAYLOAD, signature=FORGED[forgery], key=SEED.public.id))


def test_another_key_is_no_key_of_the_gate_whatever_it_is_called() -> None:
    signed = Signer([OTHER]).sign(PAYLOAD, OTHER)
    with pytest.raises(TokenError, match="unknown key"):
        check(signed)
    with pytest.raises(TokenError, match="not of these bytes"):
        check(replace(signed, key=SEED.public.id))
    with pytest.raises(TokenError, match="unknown key"):
        check(sign(TOKEN), trusted=Trusted([]))


def test_a_key_of_small_order_lets_nothing_through() -> None:
    small = Key(3, b"\1" + bytes(31))
    signed = Signed(payload=PAYLOAD, signature=b"\1" + bytes(63), key=small.id)
    with pytest.raises(TokenError, match="not of these bytes"):
        check(signed, trusted=Trusted([small]))


def test_other_things_that_the_gate_signs_are_no_tokens() -> None:
    provenance = Provenance(
        object_sha256="a" * 64,
        source_sha256="d" * 64,
        policy="latency",
        version="1.0.0",
        toolchain="clang 19",
        headers_sha256="e" * 64,
    )
    with pytest.raises(TokenError, match="something else"):
        check(sign(provenance))
    with pytest.raises(TokenError, match="something else"):
        check(sign({**msgspec.to_builtins(TOKEN), "alg": "none"}))
    with pytest.raises(TokenError, match="too long"):
        check(SIGNER.sign(b" " * MAX_PAYLOAD + PAYLOAD, SEED))


# Permits -----------------------------------------------------------------------------------------


def test_the_nonce_is_written_down_before_anything_may_be_loaded() -> None:
    books = Books()
    redeem(TOKEN, books.note)
    assert TOKEN.nonce in books.consumed
    assert books.epoch == TOKEN.epoch

    def full(_: Redeemed) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        redeem(TOKEN, full)


def test_what_was_consumed_outlives_a_restart() -> None:
    books = Books()
    for number in range(1500):
        books.note(Redeemed(f"{number:064x}", 4 if number == 7 else 2))
    again = Books()
    for entry in books.worth_keeping():
        again.note(entry)
    assert again.epoch == 4
    assert len(again.consumed) == 1000
    assert f"{1499:064x}" in again.consumed


def test_a_permit_does_not_outlast_a_suspended_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    permit = redeem(TOKEN, lambda _: None)
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + TOKEN.max_duration_s)
    with pytest.raises(TokenError, match="used up"):
        permit.use(TOKEN.object_sha256, TOKEN.parameters)


def test_a_permit_is_for_these_bytes_and_parameters_so_often_and_so_long() -> None:
    clock = [0.0]
    permit = redeem(replace(TOKEN, loads=2), lambda _: None, lambda: clock[0])
    for sha256, parameters in (("f" * 64, {"slice_ns": 3}), ("a" * 64, {"slice_ns": 4})):
        with pytest.raises(TokenError, match="not what"):
            permit.use(sha256, parameters)
    permit.use("a" * 64, {"slice_ns": 3})
    permit.use("a" * 64, {"slice_ns": 3})
    with pytest.raises(TokenError, match="used up"):
        permit.use("a" * 64, {"slice_ns": 3})
    late = redeem(TOKEN, lambda _: None, lambda: clock[0])
    clock[0] = TOKEN.max_duration_s
    with pytest.raises(TokenError, match="used up"):
        late.use("a" * 64, {"slice_ns": 3})
