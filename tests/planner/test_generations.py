"""A mind that sees what its candidates have brought, and plans on from there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.machine import Hold, Release, Tick, advance, sent
from services.planner.machine.generations import MOST_GENERATIONS
from services.planner.minds.tried import rejected_in, tried_in
from services.planner.thinking import asked_of
from shared.messages import Plan, Problem
from tests.planner.world import World, opened, plan


def look(*policies: str) -> Plan:
    return replace(plan(*policies), more=True)


def trials(world: World) -> list[tuple[str, str]]:
    return [(each.candidate.policy, each.spec.stage) for each in world.state.trials]


def test_what_a_later_plan_proposes_is_screened_and_the_best_confirmed() -> None:
    ratios = {"a": 0.9, "b": 0.8, "c": 0.5}
    world = World(opened(), [look("a", "b"), look("c"), plan("c", "b", screen=0)], ratios)
    state = world.run()
    assert state.terminal == "promoted"
    assert trials(world) == [
        ("a", "screen"),
        ("b", "screen"),
        ("c", "screen"),
        ("c", "confirm"),
    ]
    assert state.generation == 2
    assert [verb for verb, _ in world.commands].count("plan") == 3


def test_a_policy_that_was_built_is_not_built_again() -> None:
    world = World(opened(), [look("a"), plan("a", screen=0)], {"a": 0.5})
    assert world.run().terminal == "promoted"
    assert [verb for verb, _ in world.commands].count("build") == 1


def test_a_later_plan_may_look_again_at_what_was_screened() -> None:
    world = World(opened(), [look("a", "b"), look("a"), plan("a", screen=0)], {"a": 0.8, "b": 0.9})
    state = world.run()
    assert trials(world)[2] == ("a", "screen")
    (first, second) = tried_in(state)
    assert (first.candidate.policy, second.candidate.policy) == ("a", "b")
    assert first.pairs == 4 + state.trials[-1].pairs


def test_a_mind_that_gives_up_leaves_the_best_of_what_was_screened() -> None:
    broken = replace(plan(), problem=Problem(kind="X", what="no idea"))
    world = World(opened(), [look("a", "b"), broken], {"a": 0.9, "b": 0.5})
    state = world.run()
    assert state.terminal == "promoted"
    assert trials(world)[-1] == ("b", "confirm")


def test_a_mind_that_says_nothing_more_leaves_the_best_of_what_was_screened() -> None:
    world = World(opened(), [look("a", "b")], {"a": 0.9, "b": 0.5})
    state = world.run()
    assert state.terminal == "promoted"
    assert trials(world)[-1] == ("b", "confirm")


def test_a_mind_may_end_it_without_a_confirmation() -> None:
    stop = Plan(
        optimization="o1",
        mind="embedded",
        kind="keep-default",
        considered=[],
        candidates=[],
        why="nothing helps",
    )
    state = World(opened(), [look("a"), stop], {"a": 1.2}).run()
    assert (state.terminal, state.reasons[0]) == ("kept-default", "nothing helps")


def test_a_mind_that_never_has_enough_is_asked_no_further() -> None:
    plans = [look(f"p{number}") for number in range(20)]
    ratios = {f"p{number}": 0.9 for number in range(20)}
    world = World(opened(rounds=100), plans, ratios)
    assert world.run().over
    assert [verb for verb, _ in world.commands].count("plan") == MOST_GENERATIONS


def test_a_plan_of_before_is_no_plan_of_now() -> None:
    world = World(opened(), [look("a"), plan("a", screen=0)], {"a": 0.5, "z": 0.1})
    while not (world.state.phase == "planning" and world.state.generation == 1):
        world.step()
    late = advance(world.state, look("z"), world.now)
    assert late == world.state


def test_who_gets_no_hook_past_the_gate_is_told_and_may_try_again() -> None:
    world = World(opened(), [look("bad"), plan("good", screen=0)], {"good": 0.5}, rejected=("bad",))
    state = world.run()
    assert state.terminal == "promoted"
    assert rejected_in(state) == {"bad": "prove/no-calls: hooks call nothing"}


def test_it_stands_still_between_two_plans() -> None:
    world = World(opened(), [look("a"), plan("a", screen=0)], {"a": 0.5})
    while not (world.state.phase == "planning" and world.state.generation == 1):
        world.step()
    world.hear(Hold(why="frozen"))
    while world.state.outbox:
        world.step()
    assert world.state.held_unix_ns
    assert len(world.state.trials) == 1
    world.hear(Release(why="frozen"))
    assert world.run().terminal == "promoted"


def test_only_the_mind_whose_plan_it_is_goes_on() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        async def plan(self, question: object) -> Plan:
            raise NotImplementedError

    minds = [Named("llm"), Named("embedded")]
    state = opened()
    assert list(asked_of(minds, state)) == minds
    later = replace(state, generation=1, plan=replace(plan("a"), mind="embedded"))
    assert [each.name for each in asked_of(minds, later)] == ["embedded"]
    strange = replace(later, plan=replace(plan("a"), mind="gone"))
    assert [each.name for each in asked_of(minds, strange)] == ["embedded"]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcd"), unique=True, max_size=3),
            st.integers(0, 3),
            st.booleans(),
        ),
        min_size=1,
        max_size=7,
    ),
    st.integers(8, 40),
    st.lists(st.integers(0, 10_000), max_size=60),
)
def test_however_often_it_plans_there_is_one_end_within_the_budget(
    drawn: list[tuple[list[str], int, bool]], rounds: int, choices: list[int]
) -> None:
    plans = [replace(plan(*policies, screen=screen), more=more) for policies, screen, more in drawn]
    ratios = {"a": 0.4, "b": 0.9, "c": 1.0, "d": 1.5}
    world = World(opened(rounds=rounds), plans, ratios, rejected=("c",))
    old = [Tick()]
    ends = 0
    while world.state.outbox or not world.state.over:
        if not world.state.outbox:
            world.wait()
            continue
        item = world.state.outbox[0]
        ends += item.verb == "ended"
        world.state = sent(world.state, [item.id])
        for news in world.answer(item) if item.kind == "cmd" else []:
            old.append(news)  # type: ignore[arg-type]
            world.hear(news)
            if choices:
                world.hear(old[choices.pop() % len(old)])
    assert ends == 1
    assert world.state.rounds_used <= rounds
