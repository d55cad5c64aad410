"""Neighbours on a real bus: found, asked for, refused; and no gain of theirs is lost silently."""

from __future__ import annotations

import pytest

from shared import attributes as names
from shared.messages import Budget, OptimizeRequest, Rollout
from tests.planner.paper_fleet import Minds, PaperFleet

ROLLOUT = Rollout(soak_s=0.2, control_percent=0)


def request(workload: str, *hosts: str, **more: object) -> OptimizeRequest:
    return OptimizeRequest(
        workload=workload,
        hosts=list(hosts),
        rollout=ROLLOUT,
        **more,  # type: ignore[arg-type]
    )


async def test_what_a_host_keeps_for_another_is_guarded_unasked(
    minds: Minds, fleet: PaperFleet
) -> None:
    first = await minds.end((await minds.ask(request("wakeup", "h1"))).optimization)
    assert first.terminal == "promoted"
    reply = await minds.ask(request("build", "h1", "h2"))
    (part,) = reply.parts
    assert [each.workload for each in part.beside] == ["wakeup"]
    assert first.id in part.beside[0].why
    assert part.unguarded == ""
    state = await minds.end(reply.optimization)
    # The only idea is what runs already: nothing to try, and the host keeps it.
    assert state.terminal == "kept-default"
    assert fleet.profiles[-1].beside == ["wakeup"]
    (decided,) = (each for each in minds.spans if each.name == "decide neighbours")
    assert decided.trace_id == reply.trace_id
    assert decided.attributes[names.WORKLOAD_BESIDE] == ("wakeup",)
    assert "compared with latency 1.0.0 boost_ns=" in str(decided.attributes[names.DECISION_WHY])
    assert fleet.runs == {"h1": first.id}


async def test_the_judge_hears_of_neighbours_and_who_hurts_one_is_never_promoted(
    minds: Minds, fleet: PaperFleet
) -> None:
    fleet.hurts = {"wakeup.wakeup_p99_us": 2.0}
    reply = await minds.ask(request("build", "h1", beside=["wakeup"]))
    state = await minds.end(reply.optimization)
    assert fleet.trials[-1].beside == ["wakeup"]
    assert state.terminal == "kept-default"
    assert "Guardrail wakeup.wakeup_p99_us is violated" in state.reasons[0]
    assert not fleet.runs
    fleet.hurts = {"wakeup.wakeup_p99_us": 1.1}
    reply = await minds.ask(request("build", "h1", beside=["wakeup"]))
    state = await minds.end(reply.optimization)
    assert state.terminal == "promoted", state.reasons


async def test_a_neighbour_that_was_not_measured_promotes_nothing(
    minds: Minds, fleet: PaperFleet
) -> None:
    fleet.unmeasured = {"wakeup.wakeup_p99_us"}
    reply = await minds.ask(request("build", "h1", beside=["wakeup"]))
    state = await minds.end(reply.optimization)
    assert state.terminal == "kept-default"
    assert "wakeup.wakeup_p99_us is unusable" in state.reasons[0]


async def test_alone_the_loss_is_told_before_and_after(minds: Minds, fleet: PaperFleet) -> None:
    first = await minds.end((await minds.ask(request("wakeup", "h1", "h2"))).optimization)
    reply = await minds.ask(request("build", "h1", "h2", alone=True))
    assert reply.parts[0].beside == []
    assert reply.parts[0].unguarded.startswith("h1 keeps latency 1.0.0 boost_ns=")
    assert f"for wakeup ({first.id}" in reply.parts[0].unguarded
    state = await minds.end(reply.optimization)
    assert state.terminal == "promoted"
    (lost,) = state.reasons[1:]
    assert lost.startswith(f"on h1, h2 it replaced what {first.id} had deployed for wakeup (wakeup")
    assert "nobody measured" in lost


async def test_what_a_predecessor_leaves_behind_is_seen_when_the_turn_comes(
    minds: Minds, fleet: PaperFleet
) -> None:
    fleet.hold_trials.clear()
    first = await minds.ask(request("wakeup", "h1"))
    second = await minds.ask(request("build", "h1"))
    third = await minds.ask(request("pulse", "h1", beside=["hackbench", "build", "longtail-etl"]))
    assert second.waits
    assert second.parts[0].beside == []
    fleet.hold_trials.set()
    await minds.end(first.optimization)
    state = await minds.end(second.optimization)
    assert [each.workload for each in state.beside] == ["wakeup"]
    assert state.against is not None
    assert state.against.optimization == first.optimization
    late = await minds.end(third.optimization)
    assert late.terminal == "failed"
    assert "too many neighbours" in late.reasons[0]
    assert fleet.runs == {"h1": first.optimization}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"beside": ["build"]}, "contradict"),
        ({"beside": ["pulse", "pulse"]}, "contradict"),
        ({"beside": ["gone"]}, "no such workload"),
    ],
)
async def test_neighbours_that_cannot_be_are_refused(
    minds: Minds, fleet: PaperFleet, more: dict[str, list[str]], words: str
) -> None:
    reply = await minds.ask(request("build", "h1", **more))
    assert not reply.accepted
    assert words in str(reply.problem)


async def test_a_budget_has_to_hold_the_neighbours_too(minds: Minds, fleet: PaperFleet) -> None:
    budget = Budget(seconds=140)
    assert (await minds.ask(request("build", "h1", budget=budget))).accepted
    reply = await minds.ask(request("build", "h1", budget=budget, beside=["wakeup"]))
    assert "at least 256 s" in str(reply.problem)
