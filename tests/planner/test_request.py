from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from services.planner.request import check_budget, check_policies, check_rollout, new_ids
from services.planner.targets import MAX_KINDS
from shared.errors import RequestError
from shared.messages import Budget, OptimizeRequest, Rollout
from shared.subjects import token
from tests.planner.world import START

ASK = OptimizeRequest(workload="wakeup")


def test_a_budget_that_cannot_hold_eight_pairs_is_contradictory() -> None:
    request = replace(ASK, budget=Budget(rounds=8, seconds=60))
    with pytest.raises(RequestError, match="at least 160 s"):
        check_budget(request, 10.0)
    check_budget(request, 3.0)


@pytest.mark.parametrize("cohorts", [(50, 10, 100), (10, 10, 100), (10, 50)])
def test_cohorts_rise_to_the_whole_fleet(cohorts: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match="rise to 100"):
        check_rollout(replace(ASK, rollout=Rollout(cohorts=cohorts)))


def test_soaks_that_the_budget_cannot_hold_are_contradictory() -> None:
    request = replace(ASK, budget=Budget(seconds=240), rollout=Rollout(soak_s=60.0))
    with pytest.raises(RequestError, match="more than 240 s"):
        check_rollout(request)
    check_rollout(replace(request, budget=Budget(seconds=241)))


def test_an_unknown_policy_is_named_with_those_that_exist() -> None:
    with pytest.raises(RequestError, match="fair, latency"):
        check_policies(replace(ASK, policies=["magic"]), ["latency", "fair"])


def test_ids_are_subject_tokens_and_sort_by_time() -> None:
    (early,), (late,) = new_ids(START, 1), new_ids(START + 10**12, 1)
    assert token(early, "id") == early
    assert re.fullmatch(r"o\d{4}-\d{6}-[0-9a-f]{6}", early)
    assert early < late
    assert new_ids(START, 1) != new_ids(START, 1)


def test_ids_of_one_request_differ_and_sort_in_their_order() -> None:
    ids = new_ids(START, MAX_KINDS)
    assert ids == sorted(set(ids))
    assert len(ids) == MAX_KINDS
    assert len({identity.rpartition("-")[0] for identity in ids}) == 1
    assert all(token(identity, "id") == identity for identity in ids)
    assert not set(ids) & set(new_ids(START, MAX_KINDS))
