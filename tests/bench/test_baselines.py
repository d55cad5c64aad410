from __future__ import annotations

import pytest

from bench.comparing.baselines import BanditMind, RandomMind, Seen, SweepMind
from bench.comparing.entries import entry_of
from services.planner.minds.walls import ask
from tests.bench.questions import POLICIES, life, paper, question


@pytest.mark.parametrize("rounds", [8, 9, 16, 24, 60])
@pytest.mark.parametrize("mind", [SweepMind(), RandomMind(), BanditMind()])
async def test_their_plans_pass_the_walls_at_any_budget(
    mind: SweepMind | RandomMind | BanditMind, rounds: int
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


def seen(policy: str, gain: float, *, of: str = "latency-under-load", pairs: int = 11) -> Seen:
    defaults = POLICIES[policy].manifest.defaults
    return Seen(workload_class=of, policy=policy, parameters=defaults, gain=gain, pairs=pairs)


async def test_a_bandit_tries_again_what_has_paid_and_not_what_has_hurt() -> None:
    good, *others = sorted(POLICIES)
    knowing = BanditMind([seen(good, 1.5), *(seen(each, -1.5) for each in others)])
    plan = await knowing.plan(question(rounds=24))
    defaults = POLICIES[good].manifest.defaults
    assert (plan.candidates[0].policy, plan.candidates[0].parameters) == (good, defaults)
    assert plan.candidates[0].predicted_ratio < 0.5
    tried = [each for each in plan.candidates if each.policy in others]
    assert all(each.parameters != POLICIES[each.policy].manifest.defaults for each in tried)


async def test_a_bandit_believes_its_own_class_more_than_another() -> None:
    policy = min(POLICIES)
    here = BanditMind([seen(policy, 1.0, pairs=3)])
    elsewhere = BanditMind([seen(policy, 1.0, of="messaging", pairs=3)])
    values = POLICIES[policy].manifest.defaults
    sure, unsure = [
        each._belief(policy, values, "latency-under-load") for each in (here, elsewhere)
    ]
    assert 1.0 > sure[0] > unsure[0] > 0
    assert sure[1] < unsure[1]
