from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learner.memory import EXACT_LIMIT, NEAR_LIMIT, Memory
from shared.messages import Fingerprint, Outcome, RecallRequest, Recollection, Remembered
from tests.learner.known_outcomes import HERE, PROFILE, elsewhere, outcome, told
from tests.learner.known_trials import steady


def recall(
    *events: Remembered, at: Fingerprint = HERE, features: dict[str, float] | None = None
) -> Recollection:
    request = RecallRequest(
        fingerprint=at, features=PROFILE.features if features is None else features
    )
    return Memory(events).recall(request)


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
    memory = Memory([event, event, event])
    assert len(memory) == 2
    request = RecallRequest(fingerprint=HERE)
    assert memory.recall(request) == Memory([event]).recall(request)


def test_an_outcome_told_again_at_a_later_time_counts_once() -> None:
    first, again = outcome(at=1), outcome(at=9)
    assert len(Memory([told(first), told(again)])) == 1
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


def test_features_that_are_missing_or_no_numbers_do_no_harm() -> None:
    there = elsewhere(kernel="7.4.0")
    known = told(
        outcome("bare", of=there, features={}),
        outcome("odd", of=there, features={"x": float("inf"), "wakeups_per_s": 1.0}),
    )
    assert sorted(policies(recall(known, features={}).near)) == ["bare", "odd"]


def test_an_answer_stays_short() -> None:
    here = [outcome(slice_ns=number) for number in range(50)]
    there = [outcome(slice_ns=number, of=elsewhere(kernel="7.4")) for number in range(100, 150)]
    recollection = recall(told(*here, *there))
    assert len(recollection.exact) == EXACT_LIMIT
    assert len(recollection.near) == NEAR_LIMIT


def test_an_outcome_without_any_usable_pair_has_no_merit() -> None:
    empty = msgspec.structs.replace(outcome("empty", "inconclusive"), pairs=0, ratio=1.0)
    assert policies(recall(told(empty, outcome("good"))).exact) == ["good", "empty"]


def test_a_nonsense_ratio_is_kept_without_merit() -> None:
    broken = outcome("broken", ratio=0.0)
    assert policies(recall(told(broken, outcome("good"))).exact) == ["good", "broken"]
