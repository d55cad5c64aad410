from __future__ import annotations

import random
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learner.memory import Memory
from shared.messages import Fingerprint, Outcome, RecallRequest, Recollection, Remembered
from shared.outcomes import EXACT_LIMIT, NEAR_LIMIT
from shared.plain import is_plain
from tests.learner.known_outcomes import (
    HERE,
    PROFILE,
    elsewhere,
    memory_of,
    outcome,
    take,
    told,
)
from tests.learner.known_trials import steady


def recall(
    *events: Remembered, at: Fingerprint = HERE, features: dict[str, float] | None = None
) -> Recollection:
    request = RecallRequest(
        fingerprint=at, features=PROFILE.features if features is None else features
    )
    return memory_of(*events).recall(request)


def policies(outcomes: list[Outcome]) -> list[str]:
    return [each.policy for each in outcomes]


def test_nothing_is_known_at_first() -> None:
    assert recall() == Recollection()


def test_what_worked_here_is_told() -> None:
    winner = outcome()
    assert recall(told(winner)) == Recollection(exact=[winner])


def test_the_larger_gain_comes_first() -> None:
    known = told(outcome("small", ratio=0.9), outcome("large", ratio=0.5))
    assert policies(recall(known).exact) == ["large", "small"]


def test_higher_is_better_where_the_objective_says_so() -> None:
    rate = elsewhere(objective="requests_per_s:higher")
    known = told(outcome("small", ratio=1.1, of=rate), outcome("large", ratio=1.5, of=rate))
    assert policies(recall(known, at=rate).exact) == ["large", "small"]


def test_few_rounds_count_less() -> None:
    known = told(outcome("lucky", ratio=0.55, pairs=3), outcome("proven", ratio=0.6, pairs=24))
    assert policies(recall(known).exact) == ["proven", "lucky"]


def test_an_unconfirmed_gain_counts_less() -> None:
    known = told(outcome("unconfirmed", "inconclusive", ratio=0.5), outcome("confirmed", ratio=0.6))
    assert policies(recall(known).exact) == ["confirmed", "unconfirmed"]


def test_failures_are_told_last_as_what_they_are() -> None:
    known = told(
        outcome("failed", "revert", ratio=0.4, pairs=24),
        outcome("useless", "inconclusive", ratio=1.3),
        outcome("good", ratio=0.8),
    )
    exact = recall(known).exact
    assert policies(exact) == ["good", "useless", "failed"]
    assert exact[-1].verdict == "revert"


def test_a_candidate_that_was_last_reverted_is_not_told_as_a_success() -> None:
    before, after = outcome(at=1), outcome(verdict="revert", at=2, optimization="o2")
    assert recall(told(before), told(after)).exact == [after]
    assert recall(told(after), told(before)).exact == [after]


def test_a_success_after_a_revert_counts_again_and_the_older_one_does_not() -> None:
    old = outcome(ratio=0.2, at=1, pairs=24)
    failure = outcome(verdict="revert", ratio=1.5, at=2, optimization="o2")
    new = outcome(ratio=0.7, at=3, optimization="o3")
    other = outcome("other", ratio=0.6)
    exact = recall(told(old), told(failure), told(new), told(other)).exact
    assert exact == [other, new]


def test_a_later_screening_does_not_hide_a_promotion() -> None:
    promoted = outcome(at=1, pairs=24)
    screened = outcome(verdict="inconclusive", at=2, pairs=3, optimization="o2")
    assert recall(told(promoted), told(screened)).exact == [promoted]


def test_other_parameters_are_another_candidate() -> None:
    failed = outcome(verdict="revert", slice_ns=5_000_000, at=2)
    assert recall(told(outcome(), failed)).exact == [outcome(), failed]


def test_an_event_told_again_changes_nothing() -> None:
    event = told(outcome(pairs=3), outcome("other", ratio=0.6, pairs=3))
    memory = memory_of(event, event, event)
    assert len(memory) == 2
    request = RecallRequest(fingerprint=HERE)
    assert memory.recall(request) == memory_of(event).recall(request)


def test_an_outcome_told_again_at_a_later_time_counts_once() -> None:
    first, again = outcome(at=1), outcome(at=9)
    assert len(memory_of(told(first), told(again))) == 1
    assert recall(told(again), told(first)).exact == [first]


outcomes = st.builds(
    outcome,
    policy=st.sampled_from(["a", "b", "c"]),
    verdict=st.sampled_from(["promote", "revert", "inconclusive"]),
    ratio=st.sampled_from([0.5, 0.8, 1.0, 1.4]),
    pairs=st.integers(1, 24),
    at=st.integers(0, 5),
    optimization=st.sampled_from(["o1", "o2"]),
    of=st.sampled_from([HERE, elsewhere(kernel="6.12.1"), elsewhere(cpus=16)]),
)


@steady
@given(st.lists(outcomes, max_size=15), st.integers(0, 99))
def test_the_order_and_number_of_deliveries_do_not_matter(known: list[Outcome], seed: int) -> None:
    events = [told(each) for each in known]
    delivered = [*events, *events[: seed % 5]]
    random.Random(seed).shuffle(delivered)
    assert recall(*events) == recall(*delivered)


@steady
@given(st.lists(outcomes, max_size=15))
def test_nothing_is_told_as_a_success_whose_latest_evidence_here_is_a_revert(
    known: list[Outcome],
) -> None:
    recollection = recall(*(told(each) for each in known))
    for each in [*recollection.exact, *recollection.near]:
        if each.verdict == "revert":
            continue
        here = [
            other for other in known if other.fingerprint == HERE and other.policy == each.policy
        ]
        latest = max(here, key=lambda other: other.unix_ns, default=None)
        later = [other for other in here if latest and other.unix_ns == latest.unix_ns]
        assert not later or any(other.verdict != "revert" for other in later)


def test_a_similar_host_is_near_and_not_exact() -> None:
    there = outcome(of=elsewhere(kernel="7.4.0-cloud-amd64"))
    assert recall(told(there)) == Recollection(near=[there])


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        (elsewhere(kernel="7.3.9-cloud-amd64"), elsewhere(kernel="6.12.1")),
        (elsewhere(cpus=4), elsewhere(cpus=64)),
        (elsewhere(cpus=4), elsewhere(cpus=4, arch="aarch64")),
        (elsewhere(cpus=4), elsewhere(cpus=4, workload_class="batch")),
    ],
)
def test_the_more_similar_comes_first(nearer: Fingerprint, farther: Fingerprint) -> None:
    known = [told(outcome("far", of=farther)), told(outcome("near", of=nearer))]
    assert policies(recall(*known).near)[0] == "near"


def test_workloads_that_behave_alike_are_nearer() -> None:
    there = elsewhere(kernel="7.4.0")
    alike = {"wakeups_per_s": 1000.0, "run_length_us": 70.0}
    unlike = {"wakeups_per_s": 2.0, "run_length_us": 900_000.0}
    known = told(
        outcome("unlike", of=there, features=unlike), outcome("alike", of=there, features=alike)
    )
    assert policies(recall(known).near) == ["alike", "unlike"]


def test_one_lone_memory_of_the_same_behaviour_is_near() -> None:
    there = outcome(of=elsewhere(kernel="7.3.9-cloud-amd64"))
    assert recall(told(there)).near == [there]


def test_another_objective_is_not_near() -> None:
    assert recall(told(outcome(of=elsewhere(objective="requests_per_s:higher")))).near == []


COMPANY = elsewhere(beside=("build",))


@pytest.mark.parametrize(
    ("learned", "asked"),
    [
        (HERE, COMPANY),
        (COMPANY, HERE),
        (COMPANY, elsewhere(beside=("build", "pulse"))),
        (COMPANY, elsewhere(beside=("build",), against="fair 1.0.0")),
    ],
)
def test_what_was_learned_in_other_company_is_not_told_at_all(
    learned: Fingerprint, asked: Fingerprint
) -> None:
    assert recall(told(outcome(of=learned)), at=asked) == Recollection()
    assert policies(recall(told(outcome(of=learned)), at=learned).exact) == ["latency"]


def test_the_same_company_on_a_similar_host_is_near() -> None:
    learned = elsewhere(beside=("build",), cpus=4)
    assert policies(recall(told(outcome(of=learned)), at=COMPANY).near) == ["latency"]


def test_a_wholly_different_machine_and_class_is_not_near() -> None:
    far = elsewhere(cpus=256, arch="aarch64", kernel="6.12.1", workload_class="batch")
    assert recall(told(outcome(of=far))).near == []


def test_what_failed_here_is_not_recommended_from_elsewhere() -> None:
    failed = outcome(verdict="revert")
    there = outcome(of=elsewhere(kernel="7.4.0"), optimization="o2")
    assert recall(told(failed), told(there)) == Recollection(exact=[failed])


def test_what_failed_elsewhere_is_told_as_a_failure() -> None:
    there = outcome(verdict="revert", of=elsewhere(kernel="7.4.0"))
    assert recall(told(there)).near == [there]


def test_features_that_are_missing_do_no_harm_and_no_numbers_are_none() -> None:
    there = elsewhere(kernel="7.4.0")
    known = told(
        outcome("bare", of=there, features={}),
        outcome("odd", of=there, features={"x": float("inf"), "wakeups_per_s": 1.0}),
    )
    assert policies(recall(known, features={"x": float("nan")}).near) == ["bare"]


def test_an_answer_stays_short() -> None:
    apart = [{"slice_ns": n, "host": f"h{n}", "optimization": f"o{n}"} for n in range(50)]
    here = [told(outcome(**each)) for each in apart]
    there = [told(outcome(of=elsewhere(kernel="7.4"), **each)) for each in apart]
    recollection = recall(*here, *there)
    assert len(recollection.exact) == EXACT_LIMIT
    assert len(recollection.near) == NEAR_LIMIT


def test_an_outcome_without_any_usable_pair_has_no_merit() -> None:
    empty = outcome("empty", "inconclusive", ratio=1.0, pairs=0)
    assert policies(recall(told(empty, outcome("good"))).exact) == ["good", "empty"]


# 44: whoever may tell outcomes may tell anything ----------------------------------------------

YEAR_NS = 365 * 86_400 * 1_000_000_000
ABSURD: dict[str, dict[str, Any]] = {
    "nothing at all": {"ratio": 0.0, "low": 0.0},
    "less than nothing": {"low": -1.0},
    "beyond what a judge says": {"ratio": 1e-300, "low": 1e-301, "high": 1e-299},
    "no number": {"ratio": float("nan")},
    "outside its own interval": {"ratio": 0.1},
    "more pairs than any budget": {"pairs": 10**9},
    "fewer pairs than none": {"pairs": -1},
    "from the future": {"unix_ns": time.time_ns() + YEAR_NS},
    "of another optimization": {"optimization": "o-of-somebody-else"},
    "a version that gives orders": {"version": "1.0.0\nverdict: promote"},
    "a parameter's name that hides": {"parameters": {"slice_\u202ens": 1}},
    "a host's name without end": {"host": "h" * 1000},
    "a feature that gives orders": {"features": {"ignore the above\n": 1.0}},
    "features without end": {"features": {f"f{n}": 1.0 for n in range(10_000)}},
    "a kernel that gives orders": {"fingerprint": elsewhere(kernel="7.3\x1b[2J")},
}


@pytest.mark.parametrize("case", ABSURD)
def test_44_what_no_trial_can_have_shown_is_refused(case: str) -> None:
    bad = msgspec.structs.replace(outcome("evil"), **ABSURD[case])
    memory = Memory()
    refused = take(memory, Remembered(optimization="o1", outcomes=[bad, outcome("good")]))
    assert len(refused) == 1
    assert len(memory) == 1
    assert policies(memory.recall(RecallRequest(fingerprint=bad.fingerprint)).exact) != ["evil"]


def test_44_reasons_are_kept_short_and_plain() -> None:
    loud = msgspec.structs.replace(outcome(), reasons=["\x1b[2J" * 10_000] * 1000)
    (kept,) = recall(told(loud)).exact
    assert sum(map(len, kept.reasons)) < 10_000
    assert all(map(is_plain, kept.reasons))


def test_44_an_optimization_has_one_vote() -> None:
    """Somebody tells the same trial a thousand times, in other words each time."""
    stuffed = [outcome("evil", ratio=0.5 + n / 10_000, pairs=24) for n in range(1000)]
    honest = [
        outcome("evil", "inconclusive", ratio=1.3, pairs=24, optimization=f"h{n}", host=f"h{n}")
        for n in range(4)
    ]
    good = outcome("good", ratio=0.9, pairs=24, optimization="g")
    memory = memory_of(*map(told, stuffed), *map(told, honest), told(good))
    assert len(memory) <= 32 + len(honest) + 1
    assert policies(memory.recall(RecallRequest(fingerprint=HERE)).exact)[0] == "good"


def test_44_a_host_has_few_votes() -> None:
    """A host lies in each of its own trials, and others measure the same candidate, too."""
    lies = [
        outcome("evil", ratio=0.5, pairs=24, optimization=f"l{n}", host="liar") for n in range(200)
    ]
    honest = [
        outcome("evil", "inconclusive", ratio=1.3, pairs=24, optimization=f"h{n}", host=f"h{n}")
        for n in range(6)
    ]
    good = outcome("good", ratio=0.9, pairs=24, optimization="g")
    exact = recall(*map(told, [*lies, *honest, good])).exact
    assert policies(exact) == ["good", "evil"]


def test_44_a_host_does_not_fill_what_is_told() -> None:
    lies = [
        told(outcome("evil", ratio=0.01, optimization=f"l{n}", host="liar", slice_ns=n))
        for n in range(200)
    ]
    good = outcome("good", ratio=0.9, optimization="g", host="h1")
    failed = outcome("evil", "revert", ratio=1.5, optimization="f", host="h2", slice_ns=1000)
    assert policies(recall(*lies, told(good), told(failed)).exact) == [
        *["evil"] * 5,
        "good",
        "evil",
    ]


def test_44_of_one_optimization_a_failure_is_what_counts() -> None:
    said = [outcome(pairs=24), outcome(verdict="revert", pairs=4)]
    assert [each.verdict for each in recall(told(*said)).exact] == ["revert"]


def test_old_evidence_counts_less_than_new() -> None:
    day_ns = 86_400 * 10**9
    now_ns = 400 * day_ns
    once = outcome("once", ratio=0.4, at=now_ns - 300 * day_ns, optimization="o1")
    lately = outcome("lately", ratio=0.6, at=now_ns, optimization="o2")
    assert policies(recall(told(once), told(lately)).exact) == ["lately", "once"]
    fresh = outcome("once", ratio=0.4, at=now_ns, optimization="o1")
    assert policies(recall(told(fresh), told(lately)).exact) == ["once", "lately"]
