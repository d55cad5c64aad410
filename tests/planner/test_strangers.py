"""Whoever shares the bus and means ill: what others do is done all the same.

The numbers are those of the cases in docs/security.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest

from shared.bus import Bus, connect
from shared.errors import BusError
from shared.messages import (
    Heartbeat,
    OptimizeReply,
    OptimizeRequest,
    Profiled,
    Rollout,
    Round,
    StateRequest,
    TrialEnded,
    decode,
    encode,
)
from shared.subjects import Subjects
from tests.planner.paper_fleet import Minds, PaperFleet

FLEET = ("h1", "h2")
FOREIGN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = PaperFleet(bus)
    await fleet.join(*FLEET)
    yield fleet
    await fleet.stop()


@pytest.fixture
async def stranger(nats_url: str, subjects: Subjects) -> AsyncIterator[Bus]:
    bus = await connect(nats_url, subjects, "stranger", patience_s=10)
    yield bus
    await bus.close()


def request() -> OptimizeRequest:
    rollout = Rollout(soak_s=0.2, control_percent=0)
    return OptimizeRequest(workload="pulse", hosts=list(FLEET), rollout=rollout)


async def test_40_a_request_cannot_choose_its_trace(minds: Minds, stranger: Bus) -> None:
    for traceparent in (f"00-{FOREIGN}-0123456789abcdef-01", "00-" + "f" * 5000, "\x00", ""):
        answer = await stranger.nc.request(
            stranger.subjects.optimize,
            encode(request()),
            timeout=30,
            headers={"traceparent": traceparent},
        )
        reply = decode(answer.data, OptimizeReply)
        assert reply.problem is None
        assert reply.trace_id != FOREIGN
        assert (await minds.end(reply.optimization)).terminal == "promoted"


async def test_40_nobody_can_have_anothers_message_dropped(
    minds: Minds, stranger: Bus, bus: Bus
) -> None:
    """A stream drops what has an id that it has seen: ids that are told are not those used."""
    ended = TrialEnded(optimization="o1", trial="t1", host="h1", end="completed", pairs=8)
    subject = bus.subjects.event("executor", "trial_ended", "o1", "h1")
    profiled = stranger.subjects.event("observer", "profiled", "o1", "h2")
    junk = encode(Profiled(optimization="o1", host="h2"))
    await stranger.publish_bytes(profiled, junk, message_id="t1-ended")
    await stranger.publish(profiled, Profiled(optimization="o1", host="h2"), message_id="t1-ended")
    await bus.publish(subject, ended, message_id="t1-ended")
    await bus.publish(subject, ended, message_id="t1-ended")
    assert len([data async for _, data in bus.history("EVENTS", subject)]) == 1

    reply = await minds.ask(request())
    for number in range(1, 40):
        await stranger.publish_bytes(profiled, junk, message_id=f"{reply.optimization}-{number}")
    assert (await minds.end(reply.optimization)).terminal == "promoted"


async def test_a_trial_is_judged_by_what_its_own_host_says(
    minds: Minds, fleet: PaperFleet, stranger: Bus
) -> None:
    """A candidate that hurts, and another host that praises it: as itself, and as the canary."""
    fleet.hurts = {"hog_work_per_s": 0.2}
    fleet.hold_trials.clear()
    reply = await minds.ask(request())
    await minds.until(reply.optimization, lambda _: fleet.trials)
    (command,) = fleet.trials
    subjects = stranger.subjects
    letters = await stranger.nc.subscribe(subjects.dead(subjects.stream("EVENTS")))
    for name in ("h2", "h1"):
        praise = [
            Round(
                optimization=command.optimization,
                trial=command.trial,
                host=name,
                index=index,
                order="AB",
                seed=index,
                baseline={"wait_mean_us": 100.0, "hog_work_per_s": 100.0},
                candidate={"wait_mean_us": 10.0, "hog_work_per_s": 99.0},
                spec=command.spec,
            )
            for index in range(command.spec.max_pairs)
        ]
        end = TrialEnded(
            optimization=command.optimization,
            trial=command.trial,
            host=name,
            end="completed",
            pairs=command.spec.max_pairs,
        )
        for fact, said in (*(("round", each) for each in praise), ("trial_ended", end)):
            subject = subjects.event("executor", fact, command.optimization, "h2")
            await stranger.publish(subject, said, message_id=uuid4().hex)
    # What h2 says as h1 is nobody's word.
    buried = [await letters.next_msg(timeout=30) for _ in praise]
    assert all(b"says that it is of somebody else" in letter.data for letter in buried)
    assert (await minds.record(reply.optimization)).trials[-1].ended is None
    fleet.hold_trials.set()
    ended = await minds.end(reply.optimization)
    assert ended.terminal == "kept-default"
    judged = ended.trials[-1].judged
    assert judged is not None
    assert (judged.measured_on, judged.verdict) == ("h1", "revert")


async def test_42_a_flood_of_facts_holds_nobody_up(minds: Minds, stranger: Bus) -> None:
    """Facts of optimizations that do not exist, and of this one that mean nothing."""
    reply = await minds.ask(request())
    over = asyncio.Event()

    async def flood() -> int:
        number = 0
        while not over.is_set():
            for optimization in ("nobodys", reply.optimization):
                subject = stranger.subjects.event("observer", "profiled", optimization, "h9")
                fact = Profiled(optimization=optimization, host="h9")
                await stranger.publish(subject, fact, message_id=f"flood-{number}")
                number += 1
        return number

    flooding = asyncio.create_task(flood())
    ended = await minds.end(reply.optimization)
    over.set()
    assert await flooding > 10
    assert ended.terminal == "promoted"


async def test_42_a_flood_of_heartbeats_and_questions_holds_nobody_up(
    minds: Minds, stranger: Bus
) -> None:
    over = asyncio.Event()
    subjects = stranger.subjects

    async def flood(subject: str, data: Callable[[int], bytes]) -> None:
        number = 0
        while not over.is_set():
            await stranger.nc.publish(subject, data(number))
            number += 1
            if number % 100 == 0:
                await stranger.nc.flush()

    floods = [
        asyncio.create_task(
            flood(
                subjects.heartbeat("observer", "h9"),
                lambda n: encode(Heartbeat(service="observer", instance=f"h{n}", host=f"h{n}")),
            )
        ),
        asyncio.create_task(flood(subjects.optimize, lambda _: b"[" * 5000)),
        asyncio.create_task(
            flood(subjects.endpoint("learner", "recall"), lambda _: encode(StateRequest()))
        ),
    ]
    try:
        while True:
            # Of a flood of questions some of ours may be dropped, too: whoever asks asks again.
            try:
                reply = await minds.ask(request())
            except BusError:
                continue
            break
        assert (await minds.end(reply.optimization)).terminal in {"promoted", "kept-default"}
    finally:
        over.set()
        await asyncio.gather(*floods)
