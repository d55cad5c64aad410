"""What consuming counts, on a real server."""

from __future__ import annotations

import asyncio

from shared.bus import Bus, Delivery
from shared.bus.sampling import sample_once
from shared.messages import BuildCommand
from shared.metrics import declared
from tests.eventually import eventually

COMMANDS = {"stream": "COMMANDS", "verb": "build"}


async def publish(bus: Bus, number: int) -> None:
    await bus.publish(
        bus.subjects.command("executor", "build"),
        BuildCommand(optimization=f"o{number}", policy="fair"),
        message_id=f"m{number}",
    )


async def until_counted(bus: Bus, metric: declared.Counter, wanted: float, **labels: str) -> None:
    await eventually(lambda: bus.metrics.value(metric, **labels) == wanted)


async def test_handled_failed_and_redelivered_are_counted(bus: Bus) -> None:
    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        if command.optimization == "o2" and delivery.deliveries < 3:
            raise RuntimeError("not yet")

    for number in (1, 2, 3):
        await publish(bus, number)
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await until_counted(bus, declared.HANDLED, 3, **COMMANDS)
    assert bus.metrics.value(declared.FAILED, **COMMANDS) == 2
    assert bus.metrics.value(declared.REDELIVERED, **COMMANDS) == 2
    assert bus.metrics.numbers(declared.DEAD_LETTERS) == {}
    handling = ("COMMANDS", "build")
    await eventually(
        lambda: sum(bus.metrics.distributions(declared.HANDLING)[handling].counts) == 5
    )
    waited = bus.metrics.distributions(declared.WAITED)["COMMANDS", "build"]
    assert sum(waited.counts) == 3  # a message that comes again has not waited in the queue
    assert waited.total >= 0.0


async def test_dead_letters_are_counted_by_their_stream(bus: Bus) -> None:
    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        raise AssertionError("nothing that can be read came")

    await bus.publish_bytes(bus.subjects.command("executor", "build"), b"not json")
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await until_counted(bus, declared.DEAD_LETTERS, 1, stream="COMMANDS")
    assert bus.metrics.value(declared.FAILED, **COMMANDS) == 0


async def test_the_depth_of_a_queue_is_what_nobody_was_given(bus: Bus) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        begun.set()
        await go_on.wait()

    for number in range(5):
        await publish(bus, number)
    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    await asyncio.wait_for(begun.wait(), 30)
    assert await sample_once(bus) == ""
    assert bus.metrics.value(declared.PENDING, consumer="executor-gate") == 4
    assert bus.metrics.value(declared.UNACKNOWLEDGED, consumer="executor-gate") == 1
    assert bus.metrics.value(declared.CONNECTED) == 1
    go_on.set()
    async with asyncio.timeout(60):
        while bus.metrics.value(declared.UNACKNOWLEDGED, consumer="executor-gate") or (
            bus.metrics.value(declared.PENDING, consumer="executor-gate")
        ):
            await sample_once(bus)


async def test_a_queue_that_cannot_be_asked_has_no_depth(bus: Bus) -> None:
    async def handle(command: BuildCommand, delivery: Delivery) -> None:
        return

    bus.consume("COMMANDS", "executor-gate", {"build": (BuildCommand, handle)})
    assert await sample_once(bus) == ""
    assert bus.metrics.numbers(declared.PENDING) == {("executor-gate",): 0}
    await bus.js.delete_consumer(bus.subjects.stream("COMMANDS"), "executor-gate")
    assert "NotFound" in await sample_once(bus)
    assert bus.metrics.numbers(declared.PENDING) == {}
