"""What is remembered to have won: confirmed in six pairs, gone on from, and not for ever."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from services.planner.minds.embedded import EmbeddedMind
from shared.bus import Bus
from shared.messages import OptimizeRequest, Plan, RememberCommand, Rollout
from shared.subjects import Subjects
from tests.eventually import eventually
from tests.planner.paper_fleet import PaperFleet, working
from tests.planner.world import World, candidate, opened, plan


def again(*, onward: str = "", instead: tuple[str, ...] = ()) -> Plan:
    return replace(
        plan("latency"),
        again=True,
        recalled="o0",
        onward=[candidate(onward)] if onward else [],
        instead=[candidate(policy) for policy in instead],
    )


def trials(world: World) -> list[tuple[str, str, int]]:
    return [
        (each.candidate.policy, each.spec.stage, each.spec.min_pairs) for each in world.state.trials
    ]


def test_what_is_vouched_for_is_confirmed_in_six_pairs() -> None:
    world = World(opened(), again(instead=("fair",)), {"latency": 0.4})
    state = world.run()
    assert state.terminal == "promoted"
    assert state.rounds_used == 6
    assert trials(world) == [("latency", "confirm", 6)]


def test_a_budget_of_six_is_enough_for_it_and_for_nothing_else() -> None:
    assert World(opened(rounds=6), again(onward="fair"), {"latency": 0.4}).run().rounds_used == 6
    state = World(opened(rounds=6), plan("latency"), {"latency": 0.4}).run()
    assert (state.winner, state.rounds_used) == (None, 0)


def test_one_step_on_from_a_winner_is_kept_if_it_is_better() -> None:
    world = World(opened(), again(onward="fair"), {"latency": 0.6, "fair": 0.4})
    state = world.run()
    assert state.winner is not None
    assert state.winner.candidate.policy == "fair"
    assert trials(world) == [("latency", "confirm", 6), ("fair", "confirm", 8)]
    # Two questions share one alpha.
    assert [each.spec.comparisons for each in state.trials] == [1, 2]


def test_a_step_on_that_is_no_better_leaves_the_winner() -> None:
    for ratio in (0.7, 1.0, 1.4):
        state = World(opened(), again(onward="fair"), {"latency": 0.6, "fair": ratio}).run()
        assert state.terminal == "promoted"
        assert state.winner is not None
        assert state.winner.candidate.policy == "latency"


def test_a_step_on_that_the_gate_refuses_leaves_the_winner() -> None:
    world = World(opened(), again(onward="fair"), {"latency": 0.6}, rejected=("fair",))
    state = world.run()
    assert state.terminal == "promoted"
    assert state.winner is not None
    assert state.winner.candidate.policy == "latency"


def test_what_does_not_hold_any_more_is_searched_for_anew() -> None:
    ratios = {"latency": 1.3, "fair": 0.9, "fifo": 0.4}
    world = World(opened(), again(onward="x", instead=("fair", "fifo")), ratios)
    state = world.run()
    assert state.terminal == "promoted"
    assert state.winner is not None
    assert state.winner.candidate.policy == "fifo"
    assert trials(world)[0] == ("latency", "confirm", 6)
    assert state.rounds_used <= 24
    assert {verb for verb, _ in world.commands if verb == "build"} == {"build"}


def test_six_pairs_that_do_not_do_are_no_last_word() -> None:
    world = World(opened(), again(instead=("fair",)), {"latency": 1.0, "fair": 1.2})
    world.run()
    assert trials(world)[:1] == [("latency", "confirm", 6)]
    assert ("latency", "confirm", 8) in trials(world)
    assert ("fair", "screen", 3) in trials(world)


def test_what_nobody_vouches_for_has_the_usual_trial_and_no_second_one() -> None:
    world = World(opened(), replace(again(), again=False), {"latency": 1.0})
    world.run()
    assert trials(world) == [("latency", "confirm", 8)]


def test_harm_is_remembered_of_what_was_rolled_out_and_not_of_what_it_has_beaten() -> None:
    hosts = tuple(f"h{number}" for number in range(1, 13))
    state = opened(hosts=hosts, rollout=Rollout(control_percent=25))
    ratios = {"latency": 0.6, "fair": 0.4}
    world = World(state, again(onward="fair"), ratios, worse=(1, 2, 3))
    ended = world.run()
    assert ended.terminal == "kept-default", ended.reasons
    assert ended.harm
    assert ended.taken_back == ended.trials[1].trial
    told = [
        outcome
        for each in world.seen
        for item in each.outbox
        if item.verb == "remember"
        for outcome in msgspec.json.decode(item.body, type=RememberCommand).outcomes
    ]
    assert {(each.policy, each.verdict) for each in told} == {
        ("latency", "inconclusive"),
        ("fair", "revert"),
    }


async def test_a_known_fingerprint_takes_six_rounds_and_no_tokens(
    nats_url: str, subjects: Subjects, bus: Bus
) -> None:
    fleet = PaperFleet(bus)
    await fleet.join("h1")
    rollout = Rollout(soak_s=0.1, control_percent=0)
    request = OptimizeRequest(workload="wakeup", hosts=["h1"], rollout=rollout)
    try:
        async with working(nats_url, subjects, mind=EmbeddedMind()) as minds:
            ended = []
            for _ in range(3):
                asked = (await minds.ask(request)).optimization
                ended.append(await minds.end(asked))
                await eventually(
                    lambda asked=asked: (
                        fleet.sealed.get("h1") is not None
                        and fleet.sealed["h1"].optimization == asked
                    )
                )
    finally:
        await fleet.stop()
    first, second, third = ended
    assert [each.terminal for each in ended] == ["promoted"] * 3, [e.reasons for e in ended]
    assert first.rounds_used > 8
    assert second.plan is not None
    assert second.plan.again
    assert second.rounds_used == 6
    assert second.plan.cost.tokens == 0
    # From then on a step is taken each time: the winner is confirmed first, in six.
    assert [each.spec.min_pairs for each in third.trials] == [6, 8]
    assert third.trials[1].candidate.origin in {"search", "recall"}
