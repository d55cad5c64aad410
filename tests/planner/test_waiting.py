"""Waiting for a turn, paused and frozen: nothing new begins, and going back always works."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.machine import Begin, Hold, Release, Tick, Wait, accept, advance
from shared.messages import CancelRequest, DeployCommand, Reverted, TrialCommand
from shared.optimization import Optimization
from tests.planner.test_rollout import rolling, until
from tests.planner.world import SECOND, START, World, opened, plan

DAY = 86_400 * SECOND


def waiting() -> Optimization:
    return accept(replace(opened(), phase="queued", outbox=[], sent=0, fence=0), START)


def verbs(state: Optimization) -> list[str]:
    return [item.verb for item in state.outbox]


def test_nobody_is_touched_before_the_turn() -> None:
    state = waiting()
    assert state.phase == "queued"
    assert verbs(state) == ["accepted"]
    state = advance(state, Begin(fence=3), START)
    assert state.phase == "profiling"
    assert "profile" in verbs(state)
    assert advance(state, Begin(fence=4), START) == state


def test_what_is_waited_for_is_told_once() -> None:
    state = advance(waiting(), Wait("o9 works on h1"), START)
    assert state.waits == "o9 works on h1"
    assert verbs(state)[-1] == "progress"
    assert advance(state, Wait("o9 works on h1"), START) == state
    assert advance(state, Begin(fence=3), START).waits == ""


def test_the_budget_s_clock_starts_with_the_turn() -> None:
    later = START + 3600 * SECOND
    state = advance(waiting(), Tick(), later)
    assert not state.over
    state = advance(state, Begin(fence=3), later)
    assert state.expires_unix_ns == later + 600 * SECOND


def test_a_turn_that_never_comes_is_not_waited_for_for_ever() -> None:
    state = advance(waiting(), Wait("o9 works on h1"), START)
    assert not advance(state, Tick(), START + DAY - 1).over
    ended = advance(state, Tick(), START + DAY)
    assert ended.terminal == "failed"
    assert "o9 works on h1" in ended.reasons[0]
    assert "revert" not in verbs(ended)


def test_who_waits_may_be_cancelled_and_paused() -> None:
    cancelled = advance(waiting(), CancelRequest(optimization="o1"), START)
    assert cancelled.over
    assert "revert" not in verbs(cancelled)
    paused = advance(waiting(), Hold("paused"), START)
    assert advance(paused, Begin(fence=3), START) == paused
    resumed = advance(paused, Release("paused"), START)
    assert advance(resumed, Begin(fence=3), START).phase == "profiling"


def test_every_command_that_loads_carries_the_token() -> None:
    world = rolling()
    seen: dict[str, int] = {}
    while world.state.outbox or not world.state.over:
        for item in world.state.outbox:
            if item.verb == "trial":
                seen["trial"] = msgspec.json.decode(item.body, type=TrialCommand).fence
            if item.verb == "deploy":
                seen["deploy"] = msgspec.json.decode(item.body, type=DeployCommand).fence
        if world.state.outbox:
            world.step()
        else:
            world.wait()
    assert seen == {"trial": 7, "deploy": 7}


@pytest.mark.parametrize("why", ["paused", "frozen"])
def test_standing_still_begins_no_trial(why: str) -> None:
    world = World(opened(), plan("latency", "fair"), {"latency": 0.4, "fair": 0.9})
    world.hear(Hold(why))
    while world.state.outbox:
        world.step()
    assert world.state.held_unix_ns
    assert "trial" not in {verb for verb, _ in world.commands}
    far = world.state.expires_unix_ns + DAY
    assert advance(world.state, Tick(), far) == world.state
    world.now += 1000 * SECOND
    left_ns = world.state.expires_unix_ns - world.state.held_unix_ns
    world.hear(Release(why))
    assert world.state.expires_unix_ns - world.now == left_ns
    assert world.run().terminal == "promoted"


def test_a_cohort_that_is_under_way_goes_on_to_its_end_and_the_next_one_waits() -> None:
    world = rolling()
    until(world, "soaking", 1)
    world.hear(Hold("paused"))
    for _ in range(200):
        if world.state.held_unix_ns:
            break
        if world.state.outbox:
            world.step()
        else:
            world.wait()
    assert [cohort.stage for cohort in world.state.cohorts] == [
        "done",
        "done",
        "waiting",
        "waiting",
    ]
    world.hear(Release("paused"))
    assert world.run().terminal == "promoted"


def test_two_reasons_have_to_go() -> None:
    world = rolling()
    world.hear(Hold("paused"))
    world.hear(Hold("frozen"))
    while world.state.outbox:
        world.step()
    world.hear(Release("paused"))
    assert world.state.held_unix_ns
    world.hear(Release("frozen"))
    assert not world.state.held_unix_ns
    assert world.run().terminal == "promoted"


def test_a_host_that_falls_while_it_stands_still_takes_all_back() -> None:
    world = rolling()
    until(world, "confirming", 1)
    world.hear(Hold("frozen"))
    while world.state.outbox:
        world.step()
    assert world.state.held_unix_ns
    world.hear(Reverted(optimization="o1", host="h1", reason="stall"))
    state = world.run()
    assert state.terminal == "failed"
    assert not world.runs


def test_cancelling_works_while_it_stands_still() -> None:
    world = rolling()
    until(world, "confirming", 1)
    world.hear(Hold("frozen"))
    while world.state.outbox:
        world.step()
    world.hear(CancelRequest(optimization="o1"))
    state = world.run()
    assert state.terminal == "cancelled"
    assert not world.runs


@given(st.lists(st.tuples(st.integers(0, 150), st.sampled_from(["paused", "frozen"])), max_size=8))
def test_whenever_it_stands_still_it_gets_there_and_begins_nothing_meanwhile(
    toggles: list[tuple[int, str]],
) -> None:
    world = rolling()
    when = dict(toggles)
    for number in range(2000):
        if world.state.over and not world.state.outbox:
            break
        trials, cohorts = len(world.state.trials), started(world.state)
        held = list(world.state.holds)
        if number in when:
            why = when[number]
            world.hear(Release(why) if why in held else Hold(why))
        elif world.state.outbox:
            world.step()
        elif world.state.held_unix_ns:
            for why in held:
                world.hear(Release(why))
            continue
        else:
            world.wait()
        if held and world.state.holds:
            assert len(world.state.trials) == trials
            assert started(world.state) == cohorts
    assert world.state.terminal == "promoted"
    assert world.runs == set(world.state.hosts) - set(world.state.control)


def started(state: Optimization) -> int:
    return sum(cohort.stage != "waiting" for cohort in state.cohorts)
