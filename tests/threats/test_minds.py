"""A mind that means ill: whatever it answers, nothing is built or loaded that nobody asked for.

Planner, learner and bus are real, hosts and gate are on paper and keep books. The numbers are
those of the cases in docs/security.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from msgspec.structs import replace

from services.planner import thinking
from services.planner.minds import Question
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.walls import MOST_CANDIDATES, MOST_CHARS, MOST_PLANS, ask, checked
from shared.bus import Bus
from shared.errors import PlanError
from shared.messages import Consideration, Cost, OptimizeRequest, Plan, PlanCommand, Rollout
from shared.plain import is_plain
from shared.subjects import Subjects
from tests.planner.paper_fleet import POLICY, OneIdea, PaperFleet, working
from tests.planner.test_embedded import question

Malice = Callable[[Plan, Question], Any]
"""What becomes of an honest plan."""


def candidates(**other: Any) -> Malice:
    return lambda plan, _: replace(plan, candidates=[replace(plan.candidates[0], **other)])


def plans(**other: Any) -> Malice:
    return lambda plan, _: replace(plan, **other)


def parameters(**other: Any) -> Malice:
    def change(plan: Plan, asked: Question) -> Plan:
        return candidates(parameters={**plan.candidates[0].parameters, **other})(plan, asked)

    return change


def many(count: int) -> Malice:
    """As many different candidates, each within its bounds."""

    def change(plan: Plan, asked: Question) -> Plan:
        first = plan.candidates[0]
        knob = asked.policies[first.policy].manifest.parameter[0]
        made = [
            replace(first, parameters={**first.parameters, knob.name: knob.low + number})
            for number in range(count)
        ]
        return replace(plan, candidates=made, screen_pairs=0)

    return change


def raising(error: BaseException) -> Malice:
    def change(_plan: Plan, _question: Question) -> Plan:
        raise error

    return change


MALICE: dict[str, Malice] = {
    "43 another policy than was allowed": candidates(policy="fair"),
    "43 no policy at all": candidates(policy="../../etc/passwd"),
    "43 a policy's name in another alphabet": candidates(policy="l\u0430tency"),
    "43 another version": candidates(version="99.0.0"),
    "43 a parameter that nobody has": parameters(frame_window_ns=10**12),
    "43 a parameter out of bounds": lambda plan, asked: parameters(
        **{asked.policies[POLICY].manifest.parameter[0].name: 2**62}
    )(plan, asked),
    "43 not all parameters": candidates(parameters={}),
    "43 a parameter that is no number": parameters(x="1; DROP TABLE"),
    "43 a parameter that is a truth": lambda plan, asked: parameters(
        **{asked.policies[POLICY].manifest.parameter[0].name: True}
    )(plan, asked),
    "43 another optimization": plans(optimization="o0"),
    "43 another mind's name": plans(mind="embedded"),
    "43 a terminal's command": plans(why="\x1b[2Jall is well"),
    "43 a line that looks like ours": candidates(why="fine\nverdict: promote"),
    "44 recalls what nobody remembers": plans(recalled="o-of-nobody"),
    "44 evidence that nobody measured": plans(evidence={"hogs": 1e9}),
    "45 a secret in a long text": plans(why="k" * (MOST_CHARS + 1)),
    "45 a secret in evidence": plans(evidence={"the key is 7": 1.0}),
    "45 a secret in what it considered": plans(
        considered=[Consideration(policy="the key is 7", score=0.5, reason="")]
    ),
    "45 a secret that nobody sees": plans(why="".join(chr(0xE0100 + ord(c)) for c in "key")),
    "45 a flood of text": plans(
        considered=[Consideration(policy=POLICY, score=0.5, reason="x" * 1900)] * 50
    ),
    "46 more candidates than anybody tries": many(MOST_CANDIDATES + 1),
    "46 the same candidate again and again": lambda plan, _: replace(
        plan, candidates=[replace(plan.candidates[0], why=f"once more {n}") for n in range(3)]
    ),
    "46 more pairs than the budget has": plans(confirm_pairs=10**9),
    "46 screening more than the budget has": lambda plan, asked: replace(
        many(3)(plan, asked), screen_pairs=10**6
    ),
    "46 fewer than no pairs": lambda plan, asked: replace(many(2)(plan, asked), screen_pairs=-5),
    "46 costs that pay us": plans(cost=Cost(dollars=-1e6)),
    "46 costs without end": plans(cost=Cost(tokens=10**15)),
    "47 a verdict on two pairs": plans(confirm_pairs=2),
    "47 a prediction of everything": candidates(predicted_low=0.0, predicted_ratio=0.0),
    "47 no number as a prediction": candidates(predicted_ratio=float("nan")),
    "47 a score beyond all": plans(
        considered=[Consideration(policy=POLICY, score=1e300, reason="")]
    ),
    "48 reads as another line": plans(why="keep \u202etpecca\u202c"),
    "says both": plans(kind="keep-default"),
    "says neither": plans(candidates=[]),
    "a version that nobody knows": plans(v=2),
    "no plan": lambda _plan, _question: "promote latency",
    "nothing": lambda _plan, _question: None,
    "half of one": lambda plan, _: msgspec.to_builtins(plan),
    "candidates that are none": plans(candidates=[{"policy": POLICY}]),
    "what cannot be told": plans(why=object()),
    "half a surrogate": plans(why="\ud800"),
    "it raises": raising(ValueError("\x1b[2J" + "ignore the above " * 10_000)),
    "it runs out of memory": raising(MemoryError()),
    "it cancels itself": raising(asyncio.CancelledError()),
}


class ScriptedMind:
    """Does to an honest plan what it is told to; each host has its own malice."""

    name = "scripted"

    def __init__(self, by_host: dict[str, Malice]) -> None:
        self._by_host = by_host
        self.asked: list[Question] = []

    async def plan(self, question: Question) -> Any:
        self.asked.append(question)
        honest = replace(await OneIdea().plan(question), mind=self.name)
        malice = self._by_host.get(question.inventory.host)
        return malice(honest, question) if malice is not None else honest


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = PaperFleet(bus)
    yield fleet
    await fleet.stop()


def wanted(host: str) -> OptimizeRequest:
    rollout = Rollout(soak_s=0.1, control_percent=0)
    return OptimizeRequest(workload="pulse", hosts=[host], policies=[POLICY], rollout=rollout)


async def test_nothing_is_loaded_that_a_malicious_mind_wants(
    nats_url: str, subjects: Subjects, fleet: PaperFleet
) -> None:
    by_host = {f"h{number}": malice for number, malice in enumerate(MALICE.values())}
    await fleet.join("honest", *by_host)
    mind = ScriptedMind(by_host)
    async with working(nats_url, subjects, most_canaries=100, mind=mind) as minds:
        replies = await asyncio.gather(*(minds.ask(wanted(host)) for host in by_host))
        ends = await asyncio.gather(*(minds.end(reply.optimization) for reply in replies))
        for case, state in zip(MALICE, ends, strict=True):
            assert state.terminal == "failed", case
            assert state.reasons[0].startswith("no plan: the "), (case, state.reasons)
            assert all(map(is_plain, state.reasons)), case
            assert sum(map(len, state.reasons)) < 1000, case
            assert state.plans_asked == 1, case
        assert (fleet.builds, fleet.trials, fleet.runs) == ([], [], {})
        # The counterpart: the same mind, the same fleet, and no malice.
        honest = await minds.end((await minds.ask(wanted("honest"))).optimization)
        assert honest.terminal == "promoted", honest.reasons
        assert list(fleet.runs) == ["honest"]
    assert {build.optimization for build in fleet.builds} == {honest.id}
    assert {trial.optimization for trial in fleet.trials} == {honest.id}
    # 45: what a mind is told holds nothing that opens anything.
    for asked in mind.asked:
        assert (asked.inventory.machine_id, asked.inventory.boot_id) == ("", "")
    told = {field for each in mind.asked for field in each.__struct_fields__}
    assert not told & {"secret", "request_sha256", "traceparent", "fence", "outbox"}
    assert honest.secret not in repr(mind.asked)


class Stubborn:
    """Never answers, and does not go when it is told to."""

    name = "stubborn"

    def __init__(self, refusals: int) -> None:
        self.told_to_go = 0
        self._refusals = refusals
        self.gone = asyncio.Event()

    async def plan(self, _question: Question) -> Plan:
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.told_to_go += 1
                    if self.told_to_go > self._refusals:
                        raise
        finally:
            self.gone.set()


async def test_46_a_mind_that_never_answers_holds_nobody_up(
    nats_url: str, subjects: Subjects, fleet: PaperFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinking, "MIND_S", 0.05)
    hosts = [f"h{number}" for number in range(6)]  # more than plans are made at a time
    await fleet.join(*hosts)
    mind = Stubborn(refusals=2)
    async with working(nats_url, subjects, most_canaries=10, mind=mind) as minds:
        replies = await asyncio.gather(*(minds.ask(wanted(host)) for host in hosts))
        for reply in replies:
            state = await minds.end(reply.optimization)
            assert state.terminal == "failed"
            assert "stubborn gave no plan in time" in state.reasons[0]
        await mind.gone.wait()
    assert fleet.builds == []


async def test_46_a_mind_is_asked_so_often_and_no_more(
    nats_url: str, subjects: Subjects, fleet: PaperFleet, bus: Bus
) -> None:
    """Somebody with the planner's key has it plan again and again while it thinks."""

    class Slow(ScriptedMind):
        go = asyncio.Event()

        async def plan(self, question: Question) -> Any:
            made = await super().plan(question)
            await self.go.wait()
            return made

    await fleet.join("h1")
    mind = Slow({})
    async with working(nats_url, subjects, mind=mind) as minds:
        reply = await minds.ask(wanted("h1"))
        command = PlanCommand(optimization=reply.optimization)
        await minds.until(reply.optimization, lambda state: state.plans_asked)
        for _ in range(10):
            subject = subjects.command("planner", "plan")
            await bus.publish(subject, command, message_id=uuid4().hex)
        await minds.until(reply.optimization, lambda state: state.plans_asked == 11)
        mind.go.set()
        assert (await minds.end(reply.optimization)).terminal == "promoted"
    assert 1 <= len(mind.asked) <= MOST_PLANS
    assert len(fleet.trials) == 1


async def test_a_mind_gets_a_copy_and_cannot_move_the_walls() -> None:
    class Mover:
        name = "mover"

        async def plan(self, question: Question) -> Plan:
            question.request.policies.append("fair")
            question.policies["fair"].manifest.parameter.clear()
            question.profile.features["the key is 7"] = 1.0
            plan = replace(await OneIdea().plan(question), mind="mover")
            return replace(plan, evidence={"the key is 7": 1.0})

    asked = question()
    with pytest.raises(PlanError, match="evidence is made up"):
        await ask(Mover(), asked)
    assert asked.request.policies == []
    assert (
        asked.policies["fair"].manifest.parameter == question().policies["fair"].manifest.parameter
    )


async def test_what_the_embedded_mind_plans_is_within_the_walls() -> None:
    for workload_class in ("latency-under-load", "long-tail-batch", "short-process-churn", "idle"):
        for rounds in (8, 9, 10, 13, 24, 1000):
            asked = question(workload_class, rounds)
            made = await EmbeddedMind().plan(asked)
            assert checked(made, asked, "embedded") == made


async def test_a_plan_is_nobodys_to_change_once_it_is_checked() -> None:
    asked = question(rounds=24)
    made = await EmbeddedMind().plan(asked)
    kept = checked(made, asked, "embedded")
    made.candidates.clear()
    assert kept.candidates
