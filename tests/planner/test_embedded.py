from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.planner.minds import Question
from services.planner.minds.embedded import EmbeddedMind
from shared.fingerprint import fingerprint
from shared.messages import (
    Budget,
    Objective,
    OptimizeRequest,
    Outcome,
    Plan,
    Profile,
    Recollection,
)
from shared.policies import Catalogue
from tests.planner.world import inventory

OBJECTIVE = Objective(metric="wakeup_p99_us", direction="lower")
POLICIES = Catalogue.load()


def question(workload_class: str = "latency-under-load", rounds: int = 24) -> Question:
    profile = Profile(
        host="h1",
        workload="wakeup",
        features={"hog_cpu_share": 0.8},
        workload_class=workload_class,
        confidence=0.8,
        summary="",
    )
    return Question(
        optimization="o2",
        request=OptimizeRequest(workload="wakeup", budget=Budget(rounds=rounds)),
        profile=profile,
        inventory=inventory("h1"),
        fingerprint=fingerprint(profile, inventory("h1"), OBJECTIVE),
        objective=OBJECTIVE,
        recollection=Recollection(),
        policies=POLICIES,
    )


def outcome(asked: Question, verdict: str, policy: str = "latency") -> Outcome:
    return Outcome(
        fingerprint=asked.fingerprint,
        workload="wakeup",
        policy=policy,
        version="1.0.0",
        parameters=dict(POLICIES[policy].manifest.defaults, slice_ns=1_500_000),
        verdict=verdict,  # type: ignore[arg-type]
        ratio=0.4,
        low=0.3,
        high=0.5,
        pairs=10,
        predicted_ratio=0.5,
        optimization="o1",
        unix_ns=1,
    )


async def plan(asked: Question) -> Plan:
    return await EmbeddedMind().plan(asked)


async def test_the_policy_made_for_the_class_comes_first() -> None:
    for workload_class, policy in (
        ("latency-under-load", "latency"),
        ("long-tail-batch", "longtail"),
        ("short-process-churn", "throughput"),
    ):
        made = await plan(question(workload_class))
        assert made.candidates[0].policy == policy
        assert made.candidates[0].parameters == POLICIES[policy].manifest.defaults
        assert made.considered[0].policy == policy
        assert {c.policy for c in made.considered} == set(POLICIES)
        assert all(c.reason for c in made.considered)


@pytest.mark.parametrize("rounds", [8, 10, 12, 14, 17, 20, 24, 40, 1000])
async def test_a_plan_fits_its_budget_and_leaves_enough_to_confirm(rounds: int) -> None:
    made = await plan(question(rounds=rounds))
    screened = made.screen_pairs * len(made.candidates) if len(made.candidates) > 1 else 0
    assert made.confirm_pairs >= 8
    assert screened + made.confirm_pairs <= rounds


async def test_candidates_differ_and_stay_inside_their_bounds() -> None:
    made = await plan(question(rounds=40))
    seen = [(c.policy, tuple(c.parameters.items())) for c in made.candidates]
    assert len(set(seen)) == len(seen) > 1
    for candidate in made.candidates:
        POLICIES[candidate.policy].manifest.complete(candidate.parameters)


async def test_what_won_before_is_confirmed_without_a_search() -> None:
    asked = question()
    asked = replace(asked, recollection=Recollection(exact=[outcome(asked, "promote")]))
    made = await plan(asked)
    assert [c.origin for c in made.candidates] == ["recall"]
    assert made.candidates[0].parameters["slice_ns"] == 1_500_000
    assert made.recalled == "o1"
    assert made.screen_pairs == 0


async def test_what_did_harm_before_is_not_tried_again() -> None:
    asked = question()
    asked = replace(asked, recollection=Recollection(exact=[outcome(asked, "revert")]))
    made = await plan(asked)
    assert "latency" not in {c.policy for c in made.candidates}
    assert "harm" in next(c.reason for c in made.considered if c.policy == "latency")


@pytest.mark.parametrize("verdict", ["revert", "inconclusive"])
async def test_what_is_asked_for_by_name_is_measured_again(verdict: str) -> None:
    asked = question("cpu-bound")
    asked = replace(
        asked,
        request=replace(asked.request, policies=["latency"]),
        recollection=Recollection(exact=[outcome(asked, verdict)]),
    )
    made = await plan(asked)
    assert [c.policy for c in made.candidates][:1] == ["latency"]
    assert "here before" in made.considered[0].reason


async def test_nothing_fitting_keeps_the_default_and_says_so() -> None:
    made = await plan(question("idle"))
    assert made.kind == "keep-default"
    assert made.candidates == []
    assert "idle" in made.why


async def test_only_policies_that_were_asked_for_are_considered() -> None:
    asked = question()
    asked = replace(asked, request=replace(asked.request, policies=["fifo"]))
    made = await plan(asked)
    assert {c.policy for c in made.considered} == {"fifo"}
    assert made.candidates[0].policy == "fifo"


async def test_a_prediction_for_a_metric_that_should_rise_is_above_one() -> None:
    asked = question()
    made = await plan(
        replace(asked, objective=Objective(metric="requests_per_s", direction="higher"))
    )
    first = made.candidates[0]
    assert first.predicted_low <= first.predicted_ratio <= first.predicted_high
    assert first.predicted_ratio > 1
