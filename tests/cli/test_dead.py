"""`cox dead` on a real server: letters as consuming buries them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from shared.bus import Bus, Delivery
from shared.bus.consume import bury
from shared.bus.provision import provision_host
from shared.messages import (
    Artifact,
    BuildCommand,
    DeadLetter,
    DeployCommand,
    Message,
    RememberCommand,
    encode,
)
from shared.optimization import Optimization
from shared.telemetry.context import attached, context_of, inject
from tests.cli.conftest import Cox, CoxOnBus
from tests.cli.recorded import optimization

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


async def alive(bus: Bus) -> Optimization:
    """An optimization that goes on."""
    record = replace(optimization().record, phase="trying", terminal=None)
    await (await bus.records("optimizations", Optimization)).put(record.id, record)
    return record


async def died(
    bus: Bus,
    subject: str,
    data: bytes,
    consumer: str = "executor-gate",
    host: str | None = None,
) -> int:
    """A message that was taken from its queue and given up; the id of its letter."""
    with attached(context_of(TRACE)):
        await bus.publish_bytes(subject, data)
    stream = bus.subjects.stream("COMMANDS", host)
    subscription = await bus.js.pull_subscribe_bind(consumer, stream)
    (message,) = await subscription.fetch(1, timeout=10)
    sequence = message.metadata.sequence.stream
    await bury(bus, stream, message, Delivery(subject, sequence, 8), "no space left on device")
    await message.term()
    await subscription.unsubscribe()
    return (await bus.js.stream_info(bus.subjects.stream("DEAD"))).state.last_seq


async def dead_build(bus: Bus, identity: str, **fields: int) -> int:
    command = BuildCommand(optimization=identity, policy="fair", **fields)  # type: ignore[arg-type]
    return await died(bus, bus.subjects.command("executor", "build"), encode(command))


async def waiting(bus: Bus, stream: str) -> int:
    return (await bus.js.stream_info(bus.subjects.stream(stream))).state.messages  # type: ignore[arg-type]


async def test_no_letter_is_good_news(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    told, document = await asyncio.gather(
        cox_on_bus("dead", "list"), cox_on_bus("dead", "list", "--json")
    )
    assert "No dead letter" in told.out
    assert document.document == {"type": "dead_letters", "letters": [], "unreadable": 0}


async def test_letters_are_listed_and_shown_with_their_message(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    record = await alive(bus)
    build = bus.subjects.command("executor", "build")
    first = await died(bus, build, b"\x1b[31mnot json\x00")
    second = await dead_build(bus, record.id)
    await bus.publish_bytes(bus.subjects.dead("nonsense"), b"no letter at all")
    listed, document, garbage, shown = await asyncio.gather(
        cox_on_bus("dead", "list"),
        cox_on_bus("dead", "list", "--json"),
        cox_on_bus("dead", "show", str(first)),
        cox_on_bus("dead", "show", str(second), "--json"),
    )
    assert "no space left on device" in listed.out
    assert "1 more in the stream" in listed.out
    letters = document.document["letters"]
    assert [letter["id"] for letter in letters] == [first, second]
    assert [letter["optimization"] for letter in letters] == ["", record.id]
    assert letters[1]["subject"] == build
    assert letters[1]["deliveries"] == 8
    assert "\x1b" not in garbage.out  # what anybody may have sent does nothing to a terminal
    assert "not json" in garbage.out
    assert "cannot be read" in garbage.out
    assert shown.document["body"]["policy"] == "fair"
    assert shown.document["objection"] == ""
    assert shown.document["headers"]["traceparent"] == TRACE
    assert b"fair" in base64.b64decode(shown.document["data"])


async def test_a_replayed_letter_is_handled_once_in_its_own_trace_and_gone(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    letter = await dead_build(bus, (await alive(bus)).id)
    ran = await cox_on_bus("dead", "replay", str(letter))
    assert (ran.code, ran.err) == (0, "")
    assert "again" in ran.out
    assert await waiting(bus, "DEAD") == 0
    handled: list[str] = []
    done = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        handled.append(inject().get("traceparent", ""))
        assert delivery.deliveries == 1
        done.set()

    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await asyncio.wait_for(done.wait(), 30)
    assert handled == [TRACE]
    again = await cox_on_bus("dead", "replay", str(letter))
    assert again.code == 2
    assert "there is no dead letter" in again.err


async def test_two_who_replay_the_same_letter_hand_it_out_once(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    letter = await dead_build(bus, (await alive(bus)).id)
    await asyncio.gather(*(cox_on_bus("dead", "replay", str(letter)) for _ in range(3)))
    assert await waiting(bus, "DEAD") == 0
    assert await waiting(bus, "COMMANDS") == 1


async def test_what_was_learned_is_worth_replaying_after_the_end(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    subject = bus.subjects.command("learner", "remember")
    command = RememberCommand(optimization="long-gone", outcomes=[])
    letter = await died(bus, subject, encode(command), "learner-commands")
    assert (await cox_on_bus("dead", "replay", str(letter), "--json")).code == 0
    assert await waiting(bus, "COMMANDS") == 1


def deploy(identity: str) -> Message:
    artifact = Artifact(
        sha256="a" * 64, size_bytes=1, policy="fair", version="1", source_sha256="b" * 64,
        toolchain="clang",
    )  # fmt: skip
    return DeployCommand(
        optimization=identity, policy="fair", version="1", parameters={}, artifact=artifact
    )


async def unreadable(bus: Bus) -> int:
    return await died(bus, bus.subjects.command("executor", "build"), b"{}")


async def too_late(bus: Bus) -> int:
    return await dead_build(bus, (await alive(bus)).id, expires_unix_ns=time.time_ns() - 1)


async def over(bus: Bus) -> int:
    recorded = optimization()
    await recorded.publish(bus)
    await provision_host(bus.js, bus.subjects, "lab-1")
    subject = bus.subjects.command("executor", "deploy", "lab-1")
    return await died(
        bus, subject, encode(deploy(recorded.record.id)), "executor-host-lab-1", "lab-1"
    )


async def unknown(bus: Bus) -> int:
    return await dead_build(bus, "never-heard-of")


async def forged(bus: Bus, subject: str, stream: str, data: bytes = b"{}") -> int:
    letter = DeadLetter(
        stream=stream, subject=subject, sequence=1, deliveries=1, reason="x", data=data
    )
    await bus.publish(bus.subjects.dead("forged"), letter, message_id="forged")
    return (await bus.js.stream_info(bus.subjects.stream("DEAD"))).state.last_seq


async def elsewhere(bus: Bus) -> int:
    """Somebody who may write letters must not use an operator's key to write anywhere."""
    stream = bus.subjects.stream("COMMANDS")
    return await forged(bus, f"$KV.{bus.subjects.bucket('hosts')}.lab-1.inventory", stream)


async def wildcard(bus: Bus) -> int:
    subject = bus.subjects.command("executor", "deploy", "x").removesuffix("x") + "*"
    return await forged(bus, subject, bus.subjects.stream("COMMANDS", "x"), encode(deploy("o1")))


async def no_host(bus: Bus) -> int:
    record = await alive(bus)
    subject = bus.subjects.command("executor", "deploy", "mars")
    stream = bus.subjects.stream("COMMANDS", "mars")
    return await forged(bus, subject, stream, encode(deploy(record.id)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unreadable, "cannot be read"),
        (too_late, "too late"),
        (over, "is over"),
        (unknown, "is unknown"),
        (elsewhere, "does not come from a queue"),
        (wildcard, "does not come from a queue"),
        (no_host, "nobody would take"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_stays(
    bus: Bus, cox_on_bus: CoxOnBus, make: Callable[[Bus], Awaitable[int]], words: str
) -> None:
    good = await dead_build(bus, (await alive(bus)).id)
    letter = await make(bus)
    ran = await cox_on_bus("dead", "replay", str(good), str(letter), "--json")
    assert ran.code == 2
    assert words in ran.document["problem"]["what"]
    assert ran.document["problem"]["expected"]
    assert ran.document["problem"]["advice"]
    assert await waiting(bus, "DEAD") == 2  # the good one, too: all or none
    assert await waiting(bus, "COMMANDS") == 0


@pytest.mark.parametrize("identity", ["0", "x", "-1", "9" * 30])
def test_an_id_is_a_sequence(cox: Cox, identity: str) -> None:
    assert cox("dead", "replay", identity).code == 2
    assert cox("dead", "show", identity).code == 2
