from __future__ import annotations

import pytest

from bench.comparing.baselines import RandomMind, SweepMind
from bench.comparing.entries import entry_of
from services.planner.minds.walls import ask
from tests.bench.questions import POLICIES, life, paper, question


@pytest.mark.parametrize("rounds", [8, 9, 16, 24, 60])
@pytest.mark.parametrize("mind", [SweepMind(), RandomMind()])
async def test_their_plans_pass_the_walls_at_any_budget(
    mind: SweepMind | RandomMind, rounds: int
) -> None:
    plan = await ask(mind, question(rounds=rounds))
    assert plan.candidates
    assert plan.screen_pairs * len(plan.candidates) + 8 <= rounds or len(plan.candidates) == 1


async def test_a_sweep_has_every_policy_as_it_ships_or_says_which_not() -> None:
    plan = await SweepMind().plan(question(rounds=60))
    told = {each.policy: each.parameters for each in plan.candidates}
    for name, policy in POLICIES.items():
        if name in told:
            assert told[name] == policy.manifest.defaults
        else:
            assert name in plan.why
    assert "not enough rounds" in (await SweepMind().plan(question(rounds=9))).why


async def test_what_is_drawn_is_drawn_again_the_same_and_differs_from_what_ships() -> None:
    first, second = [await RandomMind().plan(question(rounds=24)) for _ in range(2)]
    assert first == second
    assert len(first.candidates) > 3
    assert any(e.parameters != POLICIES[e.policy].manifest.defaults for e in first.candidates)


async def test_a_sweep_finds_what_is_best_as_it_ships() -> None:
    best = min(POLICIES)
    entry = entry_of(await life(paper({best: 0.5}), [SweepMind()]).live(), "sweep")
    assert (entry.end, entry.policy) == ("promoted", best)
    assert entry.rounds <= 24
