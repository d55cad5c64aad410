"""Cohort after cohort: who gets the winner when, and what takes it back from everybody."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.cohorts import assign
from services.planner.machine import News, Tick, advance
from services.planner.machine.rollout import IN_FLIGHT
from shared.messages import (
    CancelRequest,
    Confirmed,
    DeployCommand,
    Deployed,
    ExitRecord,
    Probed,
    Problem,
    Reverted,
    Rollout,
    Weighed,
)
from shared.optimization import Optimization
from tests.planner.world import World, opened, plan

TEN = tuple(f"h{number}" for number in range(1, 11))
"""A canary, a control, and cohorts of 1, 3 and 4."""


def rolling(
    hosts: tuple[str, ...] = TEN, rollout: Rollout | None = None, **trouble: object
) -> World:
    state = opened(hosts=hosts, rollout=rollout)
    return World(state, plan("latency"), {"latency": 0.4}, **trouble)  # type: ignore[arg-type]


def until(world: World, stage: str, number: int) -> None:
    """Live until a cohort is in a stage, its outbox left as it is."""
    for _ in range(500):
        cohorts = world.state.cohorts
        if cohorts and cohorts[number].stage == stage:
            return
        if world.state.outbox:
            world.step()
        else:
            world.wait()
    raise AssertionError(f"cohort {number} was never {stage}")


def verbs(world: World, *wanted: str) -> list[tuple[str, str | None]]:
    return [(verb, host) for verb, host in world.commands if verb in wanted]


def test_cohorts_follow_the_canary_and_the_control_is_left_alone() -> None:
    world = rolling()
    state = world.run()
    assert state.terminal == "promoted"
    assert [len(cohort.hosts) for cohort in state.cohorts] == [1, 1, 3, 4]
    assert state.cohorts[0].hosts == ["h1"]
    assert {cohort.stage for cohort in state.cohorts} == {"done"}
    assert len(state.control) == 1
    assert world.runs == set(TEN) - set(state.control)
    assert "deploy" not in {verb for verb, host in world.commands if host in state.control}
    assert state.control[0] in " ".join(state.reasons)


def test_a_cohort_begins_when_the_one_before_has_confirmed() -> None:
    world = rolling()
    state = world.run()
    order = verbs(world, "deploy", "confirm")
    expected: list[tuple[str, str | None]] = []
    for cohort in state.cohorts:
        expected += [("deploy", host) for host in cohort.hosts]
        expected += [("confirm", host) for host in cohort.hosts]
    assert order == expected


def test_hosts_of_a_cohort_switch_a_few_at_a_time() -> None:
    hosts = tuple(f"h{number}" for number in range(1, 22))
    world = rolling(hosts, Rollout(cohorts=(100,), control_percent=0))
    world.run()
    most = max(
        sum(cohort.asked for cohort in state.cohorts) - len(state.deployments)
        for state in world.seen
        if state.phase == "deploying"
    )
    assert most == IN_FLIGHT


def test_a_soak_is_as_long_as_was_asked_for() -> None:
    world = rolling(rollout=Rollout(soak_s=300.0, control_percent=0))
    until(world, "soaking", 0)
    begun = world.now
    while world.state.outbox:
        world.step()
    assert world.state.deadline_unix_ns == begun + 300 * 10**9
    early = advance(world.state, Tick(), world.state.deadline_unix_ns - 1)
    assert early == world.state
    late = advance(world.state, Tick(), world.state.deadline_unix_ns)
    assert late.cohorts[0].stage == "confirming"


def test_a_soak_that_the_budget_cannot_hold_ends_it() -> None:
    world = rolling(rollout=Rollout(soak_s=300.0, control_percent=0))
    state = world.run()
    assert state.terminal == "failed"
    assert "the budget of 600 s ran out" in state.reasons[0]
    assert not world.runs


def test_the_lease_rides_with_the_command() -> None:
    world = rolling(rollout=Rollout(lease_s=77.0))
    until(world, "placing", 0)
    deploy = next(item for item in world.state.outbox if item.verb == "deploy")
    assert msgspec.json.decode(deploy.body, type=DeployCommand).lease_s == 77.0


@pytest.mark.parametrize("trouble", ["undeployable", "lost", "falling", "silent"])
def test_one_host_s_failure_takes_every_host_back(trouble: str) -> None:
    victim = assign("o1", TEN, "h1", Rollout()).cohorts[1][-1]
    world = rolling(**{trouble: (victim,)})
    state = world.run()
    assert state.terminal == "failed"
    assert victim in state.reasons[0]
    touched = {*state.cohorts[0].hosts, *state.cohorts[1].hosts, *state.cohorts[2].hosts}
    assert {host for verb, host in world.commands if verb == "revert"} == touched
    assert not world.runs
    assert [cohort.stage for cohort in state.cohorts] == ["done", "done", "halted", "waiting"]


def test_a_cohort_that_does_worse_than_the_control_is_taken_back_and_remembered() -> None:
    world = rolling(worse=(2,))
    state = world.run()
    assert state.terminal == "kept-default"
    assert "worse than the control" in state.reasons[0]
    assert not world.runs
    assert [cohort.stage for cohort in state.cohorts] == ["done", "done", "halted", "waiting"]
    assert "wait twice as long" in state.harm


def test_what_is_compared_covers_the_same_hosts_before_and_while_they_soak() -> None:
    world = rolling()
    state = world.run()
    assert [command.cohort for command in world.weighed] == [1, 2, 3]
    for command in world.weighed:
        assert [each.host for each in command.treated] == state.cohorts[command.cohort].hosts
        assert [each.host for each in command.control] == state.control
        assert command.comparisons == 3
        for each in (*command.treated, *command.control):
            assert each.before.seconds > 0
            assert each.soaking.seconds >= state.request.rollout.soak_s


def test_without_a_control_nobody_is_asked_for_counters() -> None:
    world = rolling(("h1", "h2"))
    assert world.run().terminal == "promoted"
    assert not verbs(world, "probe", "weigh")


def test_a_silent_observer_costs_the_comparison_not_the_rollout() -> None:
    drawn = assign("o1", TEN, "h1", Rollout())
    world = rolling(silent=tuple(drawn.control))
    state = world.run()
    assert state.terminal == "promoted"
    assert all(command.control == [] for command in world.weighed)


def test_a_host_that_falls_in_a_later_cohort_s_time_still_halts_it() -> None:
    world = rolling()
    until(world, "soaking", 2)
    world.hear(Reverted(optimization="o1", host="h1", reason="stall"))
    state = world.run()
    assert state.terminal == "failed"
    assert not world.runs


def test_a_host_that_has_not_been_asked_cannot_halt_it() -> None:
    world = rolling()
    until(world, "placing", 1)
    last = world.state.cohorts[3].hosts[0]
    world.hear(Reverted(optimization="o1", host=last, reason="somebody else's"))
    assert world.run().terminal == "promoted"


def test_a_fault_on_a_cohort_is_remembered_against_the_candidate() -> None:
    world = rolling()
    until(world, "confirming", 1)
    host = world.state.cohorts[1].hosts[0]
    fault = ExitRecord(kind=1026, kind_name="ERROR_STALL", verdict="fault")
    gone = Problem(kind="SchedulerError", what="a task waited too long")
    world.hear(Confirmed(optimization="o1", host=host, problem=gone, exit_record=fault))
    remember = next(item for item in world.state.outbox if item.verb == "remember")
    outcomes = msgspec.json.decode(remember.body)["outcomes"]
    assert outcomes[-1]["verdict"] == "revert"
    assert "a task waited too long" in outcomes[-1]["reasons"][-1]


def test_a_host_that_is_merely_away_teaches_nothing_about_the_candidate() -> None:
    victim = assign("o1", TEN, "h1", Rollout()).cohorts[0][0]
    state = rolling(silent=(victim,)).run()
    assert state.terminal == "failed"
    assert state.harm == ""


def test_cancelling_takes_back_every_host_that_was_asked() -> None:
    world = rolling()
    until(world, "soaking", 2)
    world.hear(CancelRequest(optimization="o1"))
    state = world.run()
    assert state.terminal == "cancelled"
    assert not world.runs


HOSTS = st.sampled_from(TEN)


@st.composite
def rollouts(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 10))
    rollout = Rollout(
        cohorts=(*sorted(draw(st.sets(st.integers(1, 99), max_size=3))), 100),
        soak_s=draw(st.sampled_from([0.0, 1.0, 30.0])),
        control_percent=draw(st.integers(0, 50)),
    )
    few = st.lists(HOSTS, max_size=1).map(tuple)
    return rolling(
        TEN[:count],
        rollout,
        undeployable=draw(few),
        lost=draw(few),
        falling=draw(few),
        silent=draw(st.one_of(st.just(()), st.just((TEN[-1],)))),
        worse=draw(st.sampled_from([(), (), (1,), (2,)])),
    )


@st.composite
def noise(draw: st.DrawFn) -> News:
    host = draw(HOSTS)
    broken = draw(st.sampled_from([None, Problem(kind="X", what="late")]))
    return draw(
        st.sampled_from(
            [
                Tick(),
                Deployed(optimization="o1", host=host, problem=broken),
                Confirmed(optimization="o1", host=host, problem=broken),
                Reverted(optimization="o1", host=host, reason="late"),
                Probed(optimization="o1", host=host, mark="soak-1-1"),
                Weighed(optimization="o1", cohort=1, verdict="worse"),
                Weighed(optimization="o1", cohort=2, verdict="untold"),
            ]
        )
    )


@given(rollouts(), st.lists(st.tuples(st.integers(0, 120), noise()), max_size=12))
def test_whatever_happens_the_fleet_runs_what_the_record_says(
    world: World, interruptions: list[tuple[int, News]]
) -> None:
    """Any news at any time: one end; promoted hosts run it, nobody else does."""
    when = dict(interruptions)
    for number in range(1000):
        if not world.state.outbox and world.state.over:
            break
        if number in when:
            world.hear(when[number])
        elif world.state.outbox:
            world.step()
        else:
            world.wait()
    state = world.state
    assert state.over
    assert world.events.count("ended") == 1
    if state.terminal == "promoted":
        # A host that was lost without anybody noticing yet is the executor's to tell.
        assert set(state.confirmed) == set(state.hosts) - set(state.control)
        assert {cohort.stage for cohort in state.cohorts} == {"done"}
    else:
        assert not world.runs
    check_order(world.seen)


def check_order(seen: list[Optimization]) -> None:
    """At no time are two cohorts under way, or is a control host asked for anything."""
    for state in seen:
        busy = [c for c in state.cohorts if c.stage not in {"waiting", "done", "halted"}]
        assert len(busy) <= 1
        started = [c.stage != "waiting" for c in state.cohorts]
        assert started == sorted(started, reverse=True)
        for item in state.outbox:
            if item.host in state.control:
                assert item.verb == "probe"
