"""Case 44: somebody floods the memory. What a plan takes from it has its own trial all the same.

Planner, learner, mind and bus are the real ones; the host is on paper, and what is praised hurts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from msgspec.structs import replace

from services.planner.minds.embedded import EmbeddedMind
from services.planner.thinking import sifted
from shared.bus import Bus
from shared.messages import (
    Fingerprint,
    OptimizeRequest,
    Outcome,
    RecallRequest,
    Recollection,
    Remembered,
    Rollout,
    encode,
)
from shared.policies import Catalogue
from shared.subjects import Subjects
from tests.learner.known_outcomes import HERE, elsewhere, outcome
from tests.planner.paper_fleet import Minds, PaperFleet, working

LATENCY = Catalogue.load()["latency"].manifest


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = PaperFleet(bus)
    await fleet.join("h1")
    yield fleet
    await fleet.stop()


async def remembered(bus: Bus, outcomes: list[Outcome]) -> None:
    for told in outcomes:
        event = Remembered(optimization=told.optimization, outcomes=[told])
        subject = bus.subjects.event("learner", "remembered", told.optimization)
        await bus.publish(subject, event, message_id=uuid4().hex)


async def until_told(bus: Bus, at: Fingerprint, last: str) -> None:
    """The learner has taken all of it in, in its order."""
    endpoint = bus.subjects.endpoint("learner", "recall")
    async with asyncio.timeout(60):
        while True:
            request = RecallRequest(fingerprint=at)
            found = await bus.ask(endpoint, request, Recollection, timeout_s=10)
            if last in {each.optimization for each in found.exact}:
                return
            await asyncio.sleep(0.05)


async def optimized(minds: Minds) -> str:
    rollout = Rollout(soak_s=0.1, control_percent=0)
    request = OptimizeRequest(workload="pulse", hosts=["h1"], rollout=rollout)
    return (await minds.ask(request)).optimization


async def test_a_flood_of_praise_gets_an_honest_trial_and_no_more(
    nats_url: str, subjects: Subjects, fleet: PaperFleet, bus: Bus
) -> None:
    fleet.hurts = {"hog_work_per_s": 0.2}
    async with working(nats_url, subjects, mind=EmbeddedMind()) as minds:
        first = await minds.end(await optimized(minds))
        here = first.fingerprint
        assert here is not None
        assert first.terminal == "kept-default"
        tried = len(fleet.trials)
        praise = [
            replace(
                outcome("latency", ratio=1e-5, of=here, optimization=f"p{number}", host="h9"),
                parameters=LATENCY.defaults | {"slice_ns": 3_000_000 + number},
                version=LATENCY.version,
                unix_ns=first.ended_unix_ns + 1 + number,
            )
            for number in range(60)
        ]
        absurd = [
            replace(praise[0], ratio=1e-300, low=1e-300, optimization="p60"),
            replace(
                praise[0], parameters={"slice_ns": -1}, ratio=1e-6, low=1e-6, optimization="p61"
            ),
            replace(praise[0], parameters={"frame_window_ns": 0}, optimization="p62"),
        ]
        last = replace(praise[0], policy="fair", parameters={}, optimization="last", host="h8")
        await remembered(bus, [*absurd, *praise, last])
        await until_told(bus, here, "last")
        again = await minds.end(await optimized(minds))
    plan = again.plan
    assert plan is not None
    # It was believed so far that it was tried ...
    assert plan.recalled.startswith("p")
    assert plan.recalled not in {each.optimization for each in absurd}
    assert len(fleet.trials) == tried + 1
    assert fleet.trials[-1].spec.min_pairs == 8
    assert [each.metric for each in fleet.trials[-1].spec.guardrails] == ["hog_work_per_s"]
    # ... and its own trial says what it is.
    (trial,) = again.trials
    assert trial.decision is not None
    assert trial.decision.verdict == "revert"
    assert again.terminal == "kept-default"
    assert fleet.runs == {}


def test_a_learner_that_lies_is_believed_nothing_that_cannot_be() -> None:
    """Somebody answers in the learner's place, and for another fingerprint than was asked."""
    honest = outcome("good", of=HERE)
    lies: list[Outcome] = [
        outcome("elsewhere", of=elsewhere(kernel="6.12")),
        replace(honest, ratio=0.0, low=0.0),
        replace(honest, version="1\x1b[2J"),
        replace(honest, unix_ns=2**62),
    ]
    found = sifted(Recollection(exact=[*lies, honest], near=[honest, lies[0]]), HERE, 10**18)
    assert found == Recollection(exact=[honest], near=[lies[0]])
    many = sifted(Recollection(exact=[honest] * 5000, near=[lies[0]] * 5000), HERE, 10**18)
    assert len(encode(many)) < 100_000
