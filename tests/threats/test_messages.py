"""Hostile bytes on the bus: refused with a reason, and whoever works beside them goes on.

The numbers are those of the cases in docs/security.md.
"""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.learner.service import Learner
from shared.bus import Bus, Delivery
from shared.bus.provision import provision_host
from shared.errors import MessageError, RequestError
from shared.messages import (
    MAX_MESSAGE_BYTES,
    DeadLetter,
    Judged,
    Message,
    OptimizeRequest,
    Reply,
    Round,
    StopCommand,
    decode,
    encode,
)
from shared.telemetry import start_telemetry
from tests.learner.known_trials import pair, spec

DEEP = b"[" * 200_000 + b"]" * 200_000
STOP = b'{"type":"stop","optimization":"o1","trial":"t1","reason":"why"'

BROKEN = {
    "30 deep": STOP + b',"more":' + DEEP + b"}",
    "30 not a number": b'{"type":"stop","optimization":NaN,"trial":"t1","reason":"why"}',
    "30 infinite": STOP + b',"v":1e999}',
    "31 another version": STOP + b',"v":2}',
    "31 another type": b'{"type":"deploy","optimization":"o1","trial":"t1","reason":"why"}',
    "31 a field is missing": b'{"type":"stop","optimization":"o1","trial":"t1"}',
    "31 a field of another type": b'{"type":"stop","optimization":1,"trial":"t1","reason":"why"}',
    "41 no JSON": b"\xff\x00\xfe",
    "41 half a surrogate": b'{"type":"stop","optimization":"\xed\xa0\x80","trial":"","reason":""}',
    "41 nothing": b"",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_message_is_refused_with_a_reason(case: str) -> None:
    with pytest.raises(MessageError) as refused:
        decode(BROKEN[case], StopCommand)
    assert refused.value.problem.expected
    assert len(str(refused.value)) < 1000


def test_29_what_is_too_large_is_not_even_read() -> None:
    with pytest.raises(MessageError, match="too large"):
        decode(b" " * (MAX_MESSAGE_BYTES + 1), StopCommand)


def test_29_an_error_that_names_ten_thousand_hosts_fits_into_a_message() -> None:
    problem = RequestError(
        "unknown host", got=", ".join(f"host-{n}" for n in range(10_000))
    ).problem
    assert problem.got.startswith("host-0, host-1")
    assert len(encode(Reply(problem=problem))) < 10_000


async def test_29_the_server_takes_no_more_than_its_own_limit(bus: Bus) -> None:
    with pytest.raises(nats.errors.MaxPayloadError):
        await bus.nc.publish(bus.subjects.optimize, b" " * (2**20 + 1))


def test_30_a_request_says_each_thing_once() -> None:
    with pytest.raises(MessageError, match="twice"):
        decode(b'{"workload":"wakeup","seed":1,"seed":2}', OptimizeRequest)
    with pytest.raises(MessageError, match="twice"):
        decode(b'{"workload":"wakeup","budget":{"rounds":8,"rounds":9}}', OptimizeRequest)


def test_31_a_request_with_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(MessageError, match="unknown field"):
        decode(b'{"workload":"wakeup","rools":1}', OptimizeRequest)


@given(st.binary(max_size=400), st.sampled_from([OptimizeRequest, StopCommand, Round, Reply]))
def test_41_no_bytes_raise_anything_else(data: bytes, kind: type[Message]) -> None:
    try:
        decode(data, kind)
    except MessageError:
        return


async def test_41_poison_is_buried_and_the_next_command_is_done(bus: Bus) -> None:
    await provision_host(bus.js, bus.subjects, "h1")
    done: list[str] = []
    came = asyncio.Event()

    async def stop(command: StopCommand, _delivery: Delivery) -> None:
        done.append(command.reason)
        came.set()

    subject = bus.subjects.command("executor", "stop", "h1")
    huge = b" " * (2**20 - 2000)
    for case, data in {**BROKEN, "29 huge": huge}.items():
        await bus.publish_bytes(subject, data, message_id=case)
    good = StopCommand(optimization="o1", trial="t1", reason="good")
    await bus.publish(subject, good, message_id="good")
    consumer = bus.subjects.consumer("executor", "host", "h1")
    bus.consume("COMMANDS", consumer, {"stop": (StopCommand, stop)}, host="h1")
    await came.wait()
    assert done == ["good"]
    dead = bus.history("DEAD", f"{bus.subjects.namespace}.dead.>")
    letters = [decode(data, DeadLetter) async for _, data in dead]
    assert {letter.size_bytes for letter in letters} == {len(d) for d in (huge, *BROKEN.values())}
    assert {letter.data for letter in letters} >= {
        d for d in BROKEN.values() if d != BROKEN["30 deep"]
    }


async def test_41_a_judge_is_not_stopped_by_a_round_that_cannot_be_read(bus: Bus) -> None:
    telemetry = start_telemetry("learner", publish=None)
    await Learner(bus, telemetry).start()
    heard = await bus.nc.subscribe(bus.subjects.events("learner", "judged"))
    host = "h1"
    subject = bus.subjects.event("executor", "round", "o1", host)
    done = replace(pair(0, {"time": 2.0}, {"time": 1.0}), optimization="o1", host=host, spec=spec())
    await bus.publish_bytes(subject, b'{"type":"round","optimization":"o1"}', message_id="poison")
    await bus.publish(subject, done, message_id="round")
    judged = decode((await heard.next_msg(30)).data, Judged)
    assert judged.pairs == 1
    await telemetry.shutdown()
