"""A drift on a host: found by the learner, opened by the planner, once, and only where wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, TypeVar

import pytest
from msgspec.structs import replace

from services.learner.drift import BLOCK, DAY
from services.planner.drifting import LOOK_S, identity_of
from shared.bus import Bus
from shared.messages import LIVE, Drifted, OptimizeRequest, Probed, Rollout, Vitals, decode
from shared.optimization import Optimization
from shared.subjects import Subjects
from tests.planner.paper_fleet import Minds, PaperFleet, working

T = TypeVar("T")

HOUR = BLOCK
A_DAY = BLOCK * DAY


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = PaperFleet(bus)
    await fleet.join("h1")
    yield fleet
    await fleet.stop()


async def promoted(minds: Minds, drift: Literal["off", "tell", "optimize"]) -> Optimization:
    request = OptimizeRequest(
        workload="pulse", hosts=["h1"], rollout=Rollout(soak_s=0.1, control_percent=0), drift=drift
    )
    state = await minds.end((await minds.ask(request)).optimization)
    assert state.terminal == "promoted", state.reasons
    return state


class Clock:
    """A host's counters, as its observer tells them every ten minutes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._count = 0
        self._wait = 0.0

    async def tell(self, of: str, looks: int, waiting: float) -> None:
        for _ in range(looks):
            self._count += 1
            at_s = self._count * LOOK_S
            self._wait += LOOK_S * waiting
            probed = Probed(
                optimization=of,
                host="h1",
                mark=f"{LIVE}{self._count}",
                vitals=Vitals(
                    boot_id="bh1",
                    at_ns=at_s * 10**9,
                    run_ns=at_s * 10**9,
                    wait_ns=round(self._wait * 1e9),
                ),
            )
            subject = self._bus.subjects.event("observer", "probed", of, "h1")
            await self._bus.publish(subject, probed, message_id=f"{of}-{self._count}")


async def drifts(bus: Bus) -> list[Drifted]:
    subject = bus.subjects.events("learner", "drifted")
    return [decode(data, Drifted) async for _, data in bus.history("EVENTS", subject)]


async def opened(bus: Bus) -> list[Optimization]:
    records = await bus.records("optimizations", Optimization)
    return [each.value for each in await records.all() if each.value.because]


async def until(look: Callable[[], Awaitable[list[T]]], count: int = 1) -> list[T]:
    async with asyncio.timeout(60):
        while len(found := await look()) < count:  # noqa: ASYNC110 - what is on a bus has no event
            await asyncio.sleep(0.05)
    return found


async def until_told(bus: Bus, count: int) -> list[Drifted]:
    return await until(lambda: drifts(bus), count)


async def test_a_drift_opens_one_optimization_and_says_why(
    nats_url: str, subjects: Subjects, bus: Bus, fleet: PaperFleet
) -> None:
    async with working(nats_url, subjects) as minds:
        first = await promoted(minds, "optimize")
        clock = Clock(bus)
        await clock.tell(first.id, A_DAY + 2 * HOUR, 0.3)
        await clock.tell(first.id, 6 * HOUR, 0.9)
        (found,) = await until_told(bus, 1)
        assert (found.on, found.figure) == ("h1", "waiting")

        (second,) = await until(lambda: opened(bus))
        ended = await minds.end(second.id)
        assert second.id == identity_of(found)
        assert ended.after == first.id
        assert ended.because.startswith(f"drift in {first.id}: tasks wait 0.90 s")
        assert ended.request.budget == first.request.budget
        assert ended.request_sha256 == first.request_sha256
        assert ended.terminal == "promoted"
        root = next(
            each
            for each in minds.spans
            if each.name == "optimize pulse" and each.trace_id == ended.trace_id
        )
        assert [each.trace_id for each in root.links] == [first.trace_id]
        # What it has left is another matter, and within a day nothing more is opened.
        await clock.tell(second.id, A_DAY + 2 * HOUR, 0.9)
        await clock.tell(second.id, 6 * HOUR, 3.0)
        told = await until_told(bus, 2)
        assert told[1].optimization == second.id
        # Told again, of the same: it is there already.
        subject = bus.subjects.event("learner", "drifted", first.id)
        await bus.publish(subject, found, message_id="once-more")
        third = await promoted(minds, "off")
        assert [each.id for each in await opened(bus)] == [second.id]
        assert third.id != second.id


async def test_who_only_wants_to_hear_of_it_only_hears(
    nats_url: str, subjects: Subjects, bus: Bus, fleet: PaperFleet
) -> None:
    async with working(nats_url, subjects) as minds:
        first = await promoted(minds, "tell")
        clock = Clock(bus)
        await clock.tell(first.id, A_DAY, 0.3)
        await clock.tell(first.id, 6 * HOUR, 0.9)
        await until_told(bus, 1)
        await promoted(minds, "off")
        assert await opened(bus) == []


async def test_a_learner_that_starts_anew_tells_of_what_nobody_has_told_and_nothing_twice(
    nats_url: str, subjects: Subjects, bus: Bus, fleet: PaperFleet
) -> None:
    clock = Clock(bus)
    # Nobody listens.
    await clock.tell("o1", A_DAY, 0.3)
    await clock.tell("o1", 6 * HOUR, 0.9)
    async with working(nats_url, subjects):
        (told,) = await until_told(bus, 1)
    async with working(nats_url, subjects) as minds:
        await promoted(minds, "off")
        assert await drifts(bus) == [told]
    assert replace(told, unix_ns=0).optimization == "o1"
