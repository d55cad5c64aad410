from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.machine import News, Tick, advance, sent
from shared.messages import (
    Built,
    CancelRequest,
    Deployed,
    Plan,
    Problem,
    Profiled,
    Reason,
    Remembered,
    Reverted,
    TrialEnd,
)
from shared.optimization import Optimization
from tests.planner.world import SECOND, START, World, artifact, opened, plan, profiled


def test_a_winner_is_screened_confirmed_and_deployed_canary_first() -> None:
    world = World(opened(), plan("latency", "fair"), {"latency": 0.4, "fair": 0.9})
    state = world.run()
    assert state.terminal == "promoted"
    assert state.phase == "ended"
    assert [(t.spec.stage, t.candidate.policy) for t in state.trials] == [
        ("screen", "latency"),
        ("screen", "fair"),
        ("confirm", "latency"),
    ]
    assert [host for verb, host in world.commands if verb == "deploy"] == ["h1", "h2"]
    assert world.events[0] == "accepted"
    assert world.events[-1] == "ended"


def test_the_winner_is_confirmed_on_rounds_nobody_has_looked_at() -> None:
    state = World(opened(), plan("latency", "fair"), {"latency": 0.4, "fair": 0.9}).run()
    assert len({trial.seed for trial in state.trials}) == 3
    assert state.winner is not None
    assert state.winner.pairs >= 8


def test_screening_finds_the_better_one_whatever_was_predicted() -> None:
    state = World(opened(), plan("latency", "fair"), {"latency": 0.95, "fair": 0.5}).run()
    assert state.winner is not None
    assert state.winner.candidate.policy == "fair"


@pytest.mark.parametrize(("ratio", "word"), [(1.0, "inconclusive"), (1.3, "revert")])
def test_what_is_not_proven_better_is_not_kept(ratio: float, word: str) -> None:
    world = World(opened(), plan("latency"), {"latency": ratio})
    state = world.run()
    assert state.terminal == "kept-default"
    assert word in state.reasons[0]
    assert "deploy" not in [verb for verb, _ in world.commands]


def test_a_second_confirmation_shares_the_error_rate() -> None:
    state = World(
        opened(rounds=40), plan("latency", "fair"), {"latency": 0.985, "fair": 0.99}
    ).run()
    confirmations = [t.spec.comparisons for t in state.trials if t.spec.stage == "confirm"]
    assert confirmations == [1, 2]


def test_rounds_never_exceed_the_budget() -> None:
    for rounds in (8, 9, 12, 20, 50):
        state = World(
            opened(rounds=rounds),
            plan("latency", "fair", "fifo", screen=3),
            {"latency": 0.99, "fair": 0.985, "fifo": 0.99},
        ).run()
        assert state.rounds_used <= rounds
        assert state.terminal == "kept-default"


def test_everything_rejected_by_the_gate_says_why() -> None:
    state = World(opened(), plan("latency"), {}, rejected=("latency",)).run()
    assert state.terminal == "rejected"
    assert "no-calls" in state.reasons[0]
    assert state.trials == []


def test_one_rejection_leaves_the_other_candidate() -> None:
    state = World(opened(), plan("latency", "fair"), {"fair": 0.5}, rejected=("latency",)).run()
    assert state.terminal == "promoted"


def test_the_verifiers_no_is_a_rejection() -> None:
    state = World(opened(), plan("latency"), {"latency": 0.5}, ends={"latency": "verifier"}).run()
    assert state.terminal == "rejected"
    assert "verifier" in state.reasons[0]


@pytest.mark.parametrize("end", ["workload", "foreign", "interrupted"])
def test_a_broken_trial_fails_and_takes_the_host_back(end: TrialEnd) -> None:
    world = World(opened(), plan("latency"), {"latency": 0.5}, ends={"latency": end})
    state = world.run()
    assert state.terminal == "failed"
    assert ("revert", "h1") in world.commands


def test_a_fault_is_remembered_and_never_promoted() -> None:
    world = World(opened(), plan("latency"), {"latency": 0.4}, ends={"latency": "fault"})
    state = world.run()
    assert state.terminal == "kept-default"
    assert "remember" in [verb for verb, _ in world.commands]
    assert "deploy" not in [verb for verb, _ in world.commands]


def test_a_host_that_cannot_be_deployed_takes_all_back() -> None:
    world = World(opened(), plan("latency"), {"latency": 0.4}, undeployable=("h2",))
    state = world.run()
    assert state.terminal == "failed"
    assert {host for verb, host in world.commands if verb == "revert"} == {"h1", "h2"}
    assert state.winner is None
    assert not world.runs


def test_a_host_that_falls_back_while_others_are_deployed_takes_all_back() -> None:
    state = run_until(opened(), "deploying")
    first = Deployed(optimization="o1", host="h1")
    state = advance(state, first, START + 50 * SECOND)
    fell = Reverted(optimization="o1", host="h1", reason="stall")
    state = advance(state, fell, START + 51 * SECOND)
    assert state.terminal == "failed"
    assert "stall" in state.reasons[0]


def test_no_profile_is_a_failure_with_its_reason() -> None:
    problem = Problem(kind="WorkloadError", what="gcc is missing")
    news = Profiled(optimization="o1", host="h1", problem=problem)
    state = advance(opened(), news, START + SECOND)
    assert state.terminal == "failed"
    assert "gcc is missing" in state.reasons[0]
    assert state.over


def test_a_plan_without_candidates_keeps_the_default() -> None:
    state = World(opened(), plan(), {}).run()
    assert state.terminal == "kept-default"


def test_waiting_ends_and_says_for_whom() -> None:
    for phase, whom in (
        ("profiling", "observer on h1"),
        ("planning", "mind"),
        ("building", "gate"),
        ("trying", "executor on h1"),
        ("deploying", "executor on h1"),
    ):
        state = run_until(opened(), phase)
        assert advance(state, Tick(), state.deadline_unix_ns - 1) == state
        late = advance(state, Tick(), state.deadline_unix_ns)
        assert late.terminal == "failed"
        assert whom in late.reasons[0]


def test_without_a_learner_the_outcome_holds_all_the_same() -> None:
    state = run_until(opened(), "remembering")
    ended = advance(state, Tick(), state.deadline_unix_ns)
    assert ended.over
    assert ended.terminal == "promoted"


def test_cancelling_takes_back_whatever_runs() -> None:
    for phase in ("profiling", "planning", "building", "trying", "deploying"):
        state = run_until(opened(), phase)
        state = advance(state, CancelRequest(optimization="o1"), START + 60 * SECOND)
        assert state.terminal == "cancelled"
        if phase == "trying":
            verbs = [item.verb for item in state.outbox]
            assert "stop" in verbs
            assert "revert" in verbs


def run_until(state: Optimization, phase: str) -> Optimization:
    """The first state in this phase, its outbox left as it is."""
    world = World(state, plan("latency"), {"latency": 0.4})
    while world.state.phase != phase:
        if not world.state.outbox:
            world.wait()
            continue
        item = world.state.outbox[0]
        world.state = sent(world.state, [item.id])
        for news in world.answer(item) if item.kind == "cmd" else []:
            if world.state.phase == phase:
                break
            world.now += SECOND
            world.hear(news)
    return world.state


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, dict[str, float], list[int]]:
    policies = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3))
    ratios = {policy: draw(st.sampled_from([0.4, 0.99, 1.0, 1.5])) for policy in policies}
    return (
        plan(*policies, screen=draw(st.integers(0, 3))),
        ratios,
        draw(st.lists(st.integers(0, 10_000), max_size=60)),
    )


@given(histories())
def test_whatever_the_bus_repeats_or_mixes_up_there_is_one_end(
    history: tuple[Plan, dict[str, float], list[int]],
) -> None:
    """News is repeated, old news comes late: still one `ended`, and ids never repeat."""
    the_plan, ratios, choices = history
    world = World(opened(), the_plan, ratios)
    old: list[News] = [profiled("h2"), Tick(), Reverted(optimization="o1", host="h2", reason="x")]
    ends = 0
    ids: set[str] = set()
    while world.state.outbox or not world.state.over:
        if not world.state.outbox:
            world.wait()
            continue
        item = world.state.outbox[0]
        assert item.id not in ids
        ids.add(item.id)
        ends += item.verb == "ended"
        world.state = sent(world.state, [item.id])
        for news in world.answer(item) if item.kind == "cmd" else []:
            old.append(news)
            world.now += SECOND // 10
            world.state = advance(world.state, news, world.now)
            if choices:
                world.state = advance(world.state, old[choices.pop() % len(old)], world.now)
    assert world.state.over
    assert ends == 1
    assert world.state.rounds_used <= world.state.request.budget.rounds


@given(st.sampled_from(["profiling", "planning", "building", "trying", "deploying"]))
def test_an_ended_optimization_never_changes(phase: str) -> None:
    state = run_until(opened(), phase)
    state = advance(state, CancelRequest(optimization="o1"), START + 60 * SECOND)
    if not state.over:
        state = advance(state, Remembered(optimization="o1", outcomes=[]), START + 61 * SECOND)
    assert state.over
    state = replace(state, outbox=[])
    late: list[News] = [
        profiled(),
        plan("latency"),
        Built(optimization="o1", policy="latency", artifact=artifact("latency")),
        Built(
            optimization="o1",
            policy="latency",
            reasons=[Reason(stage="s", rule="r", text="t")],
        ),
        Deployed(optimization="o1", host="h1"),
        Remembered(optimization="o1", outcomes=[]),
        CancelRequest(optimization="o1"),
        Tick(),
    ]
    for news in late:
        assert advance(state, news, START + 10_000 * SECOND) == state
