"""Steps of one optimization: each takes effect once, whoever else is at it, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from services.planner import lives as module
from services.planner.lives import Lives
from services.planner.machine import Hold, News, Release, Tick, advance
from services.planner.machine.planning import PLAN_S
from services.planner.turns import Turns
from shared.bus import Bus, Records
from shared.bus.provision import provision_host
from shared.errors import BusUnavailableError
from shared.messages import Progress, decode
from shared.optimization import Optimization
from shared.telemetry import start_telemetry
from tests.planner.world import opened, profiled

HOUR_NS = 3600 * 10**9


class Planner:
    """What one planner instance knows of a bus."""

    def __init__(self, bus: Bus, records: Records[Optimization], turns: Turns) -> None:
        self.bus = bus
        self.records = records
        self._telemetry = start_telemetry("planner", publish=None)
        self.lives = Lives(bus, self._telemetry, records, turns)

    @classmethod
    async def on(cls, bus: Bus) -> Planner:
        return cls(bus, await bus.records("optimizations", Optimization), await Turns.on(bus, 8))

    async def record(self) -> Optimization:
        record = await self.records.get("o1")
        assert record is not None
        return record.value

    async def settled(self) -> Optimization:
        """The record once it is noted that all has been sent, which nobody waits for."""
        while True:
            state = await self.record()
            if not state.outbox:
                return state
            await asyncio.sleep(0.02)

    async def revision(self) -> int:
        record = await self.records.get("o1")
        assert record is not None
        return record.revision

    async def said(self) -> list[str]:
        """What everybody was told of how it goes."""
        subject = self.bus.subjects.events("planner", "progress")
        return [
            decode(data, Progress).text async for _, data in self.bus.history("EVENTS", subject)
        ]

    async def close(self) -> None:
        await self.lives.close()
        await self._telemetry.shutdown()


@pytest.fixture
async def planner(bus: Bus) -> AsyncIterator[Planner]:
    await provision_host(bus.js, bus.subjects, "h1")
    planner = await Planner.on(bus)
    await planner.lives.open(opened())
    await planner.lives.step("o1")
    await planner.settled()
    yield planner
    await planner.close()


async def test_what_comes_together_goes_into_one_write(planner: Planner) -> None:
    before = await planner.revision()
    reasons = [f"r{number}" for number in range(50)]
    await asyncio.gather(*(planner.lives.step("o1", Hold(reason)) for reason in reasons))
    state = await planner.settled()
    assert state.holds == reasons
    # The first goes alone; the others have come meanwhile. Then each outbox is noted as sent.
    assert await planner.revision() - before <= 4


async def test_what_follows_is_on_the_bus_when_a_step_is_done(planner: Planner) -> None:
    await planner.lives.step("o1", Hold("paused"))
    assert "paused: nothing new begins" in await planner.said()


async def test_news_counts_though_another_planner_was_quicker(planner: Planner, bus: Bus) -> None:
    """This one has not heard of the hold that its news is about: without it, it means nothing."""
    other = await Planner.on(bus)
    await planner.lives.read_all()
    await other.lives.step("o1", Hold("paused"))
    known = planner.lives.get("o1")
    assert known is not None
    assert known.holds == []
    await planner.lives.step("o1", Release("paused"))
    assert (await planner.settled()).holds == []
    await other.close()


async def test_two_planners_at_once_lose_nothing(planner: Planner, bus: Bus) -> None:
    other = await Planner.on(bus)
    await other.lives.read_all()
    reasons = [f"r{number}" for number in range(40)]
    await asyncio.gather(
        *(
            (planner if number % 2 else other).lives.step("o1", Hold(reason))
            for number, reason in enumerate(reasons)
        )
    )
    assert sorted((await planner.record()).holds) == sorted(reasons)
    await other.close()


async def test_news_that_cannot_be_taken_in_fails_alone(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(state: Optimization, news: News, now_unix_ns: int) -> Optimization:
        if news == Hold("poison"):
            raise ZeroDivisionError
        return advance(state, news, now_unix_ns)

    monkeypatch.setattr(module, "advance", poisoned)
    answers = await asyncio.gather(
        *(planner.lives.step("o1", Hold(reason)) for reason in ("a", "poison", "b")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), ZeroDivisionError, type(None)]
    assert (await planner.record()).holds == ["a", "b"]


async def test_a_step_that_was_not_written_may_come_again(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise BusUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(planner.records, "replace", away)
        with pytest.raises(BusUnavailableError):
            await planner.lives.step("o1", Hold("paused"))
    assert (await planner.record()).holds == []
    await planner.lives.step("o1", Hold("paused"))
    assert (await planner.record()).holds == ["paused"]


async def test_what_was_written_and_not_sent_is_sent_by_whoever_comes_next(
    planner: Planner, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise BusUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(bus, "publish_bytes", away)
        with pytest.raises(BusUnavailableError):
            await planner.lives.step("o1", Hold("paused"))
    assert (await planner.record()).outbox
    assert "paused: nothing new begins" not in await planner.said()
    other = await Planner.on(bus)
    await other.lives.step("o1")
    await other.settled()
    assert "paused: nothing new begins" in await other.said()
    await other.close()


@pytest.mark.parametrize("wrong_ns", [HOUR_NS, -HOUR_NS])
async def test_a_wrong_clock_ends_nothing_and_makes_nothing_last(
    planner: Planner, bus: Bus, monkeypatch: pytest.MonkeyPatch, wrong_ns: int
) -> None:
    """Neither what its planner waits for, nor what it has others wait for."""
    right = time.time_ns
    other = await Planner.on(bus)
    await other.lives.read_all()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: right() + wrong_ns)
        await other.lives.step("o1", Tick())
        assert (await planner.record()).phase == "profiling"
        await other.lives.step("o1", profiled())
    state = await planner.settled()
    assert state.phase == "planning"
    assert 0 < state.deadline_unix_ns - state.at_unix_ns <= PLAN_S * 10**9
    # What a planner with a right clock makes of it is right again, and as much is left.
    await planner.lives.step("o1", Hold("paused"))
    state = await planner.settled()
    assert state.phase == "planning"
    assert abs(state.at_unix_ns - right()) < HOUR_NS / 2
    assert 0 < state.deadline_unix_ns - state.at_unix_ns <= PLAN_S * 10**9
    await other.close()


async def test_nobody_waits_for_a_planner_that_ends(
    planner: Planner, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    hanging = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        hanging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bus, "publish_bytes", hang)
    step = asyncio.create_task(planner.lives.step("o1", Hold("paused")))
    await hanging.wait()
    await planner.lives.close()
    with pytest.raises(BusUnavailableError):
        await step
