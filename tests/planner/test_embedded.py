from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.planner.minds import Question
from services.planner.minds.candidates import candidate
from services.planner.minds.embedded import EmbeddedMind
from services.planner.minds.question import Tried
from services.planner.minds.study import suggestions
from services.planner.minds.walls import checked
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
    for each in made.candidates:
        POLICIES[each.policy].manifest.complete(each.parameters)


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


def told(
    asked: Question,
    *of: tuple[str, dict[str, int], float, bool],
    known: Catalogue = POLICIES,
) -> Question:
    """The question after candidates were tried with these ratios, two pairs each."""
    tried = [
        Tried(
            candidate=candidate(
                known[policy],
                values,
                why="",
                ratio=1.0,
                low=0.9,
                high=1.1,
                origin="search",
            ),
            pairs=2,
            ratio=ratio,
            low=ratio * 0.9,
            high=ratio * 1.1,
            harmful=harmful,
        )
        for policy, values, ratio, harmful in of
    ]
    return replace(asked, tried=tried, rounds_used=2 * len(tried))


async def test_it_wants_to_see_what_the_first_looks_bring() -> None:
    made = await plan(question(rounds=24))
    assert made.more
    assert made.screen_pairs == 2
    assert len(made.candidates) == 3


async def test_it_searches_around_what_leads() -> None:
    made = await plan(told(question(rounds=40), ("latency", {}, 0.5, False)))
    assert made.more
    assert {each.policy for each in made.candidates} == {"latency"}
    assert POLICIES["latency"].manifest.defaults not in [c.parameters for c in made.candidates]


async def test_where_nothing_has_helped_it_looks_at_what_else_ships() -> None:
    made = await plan(told(question(rounds=40), ("latency", {}, 1.1, False)))
    assert made.more
    assert {each.policy for each in made.candidates} == set(POLICIES) - {"latency"}


async def test_what_did_harm_leads_nothing() -> None:
    made = await plan(
        told(question(rounds=24), ("latency", {}, 0.3, True), ("fair", {}, 0.8, False))
    )
    assert {each.policy for each in made.candidates} == {"fair"}


STEPS: tuple[dict[str, int], ...] = (
    {},
    {"short_ns": 500_000},
    {"short_ns": 8_000_000},
    {"slice_ns": 2_000_000},
)


async def test_when_the_last_looks_bring_nothing_it_puts_hooks_together_itself() -> None:
    asked = told(question(rounds=40), *(("latency", step, 0.5, False) for step in STEPS))
    made = await plan(asked)
    assert made.kind == "generate"
    assert all(each.made is not None and each.made.mind == "embedded" for each in made.candidates)
    assert checked(made, asked, "embedded").candidates == made.candidates


async def test_it_stops_when_the_last_looks_have_brought_nothing() -> None:
    asked = question(rounds=40)
    asked = replace(asked, request=replace(asked.request, made=False))
    made = await plan(told(asked, *(("latency", step, 0.5, False) for step in STEPS)))
    assert [each.made for each in made.candidates] == [None, None]
    assert not made.more
    assert made.screen_pairs == 0
    assert made.confirm_pairs == 16
    assert "brought nothing more" in made.why


async def test_where_nothing_that_ships_helps_hooks_are_put_together() -> None:
    everything = [(name, {}, 1.05, False) for name in POLICIES]
    made = await plan(told(question(rounds=40), *everything))
    assert made.kind == "generate"


async def test_where_nothing_looks_better_the_default_is_kept() -> None:
    everything = [(name, {}, 1.05, False) for name in POLICIES]
    asked = question(rounds=40)
    asked = replace(asked, request=replace(asked.request, made=False))
    made = await plan(told(asked, *everything))
    assert made.kind == "keep-default"


@settings(max_examples=40, deadline=None)
@given(
    rounds=st.integers(8, 64),
    gains=st.lists(st.floats(0.2, 3.0), min_size=40, max_size=40),
    workload_class=st.sampled_from(["latency-under-load", "cpu-bound", "long-tail-batch"]),
)
def test_whatever_trials_bring_it_ends_within_its_rounds_and_bounds(
    rounds: int, gains: list[float], workload_class: str
) -> None:
    asked = question(workload_class, rounds=rounds)
    of: list[tuple[str, dict[str, int], float, bool]] = []
    known = POLICIES
    for _ in range(20):
        now = told(asked, *of, known=known)
        made = checked(asyncio.run(plan(now)), now, "embedded")
        assert now.rounds_used + 8 <= rounds or not made.more
        known = known.joined(known.make(each.made) for each in made.candidates if each.made)
        for each in made.candidates:
            known[each.policy].manifest.check_whole(each.parameters)
        if not made.more:
            return
        new = [
            (each.policy, each.parameters)
            for each in made.candidates
            if (each.policy, each.parameters) not in [(p, v) for p, v, _, _ in of]
        ]
        assert new, "a look that can teach nothing"
        of += [
            (policy, values, gains[len(of) + nth], gains[len(of) + nth] > 2.5)
            for nth, (policy, values) in enumerate(new)
        ]
    pytest.fail("it never ended")


def test_the_same_question_has_the_same_suggestions() -> None:
    asked = told(question(rounds=40), ("latency", {}, 0.5, False))
    policies = [POLICIES["latency"], POLICIES["fair"]]
    assert suggestions(asked, policies, 3) == suggestions(asked, policies, 3)


def test_a_study_has_no_more_suggestions_than_there_are_points() -> None:
    tiny = POLICIES["fifo"]
    narrow = replace(tiny.manifest.parameter[0], low=4_999_999, high=5_000_000, scale="linear")
    policy = replace(tiny, manifest=replace(tiny.manifest, parameter=[narrow]))
    asked = told(question(rounds=40), ("fifo", {}, 0.9, False))
    assert suggestions(asked, [policy], 5) == [("fifo", {"slice_ns": 4_999_999})]
