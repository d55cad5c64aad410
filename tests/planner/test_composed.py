"""Policies that are put together: each passes the gate, and says what it does."""

from __future__ import annotations

import pytest

from services.executor.gate import Accepted, BuildRequest, Workshop, build
from services.planner.minds.composed import compositions, hopeful, made_of
from shared.classes import WORKLOAD_CLASSES
from shared.policies import Catalogue

POLICIES = Catalogue.load()
ALL = list(compositions())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(cache=tmp_path_factory.mktemp("composed"))


@pytest.mark.parametrize("number", range(len(ALL)))
def test_every_composition_passes_the_gate(workshop: Workshop, number: int) -> None:
    policy = POLICIES.make(made_of(ALL[number], "embedded"))
    outcome = build(BuildRequest.of(policy), workshop)
    assert isinstance(outcome, Accepted), (outcome, policy.source)
    assert outcome.artifact.evidence["warnings"] == 0


def test_no_two_of_them_are_the_same_policy() -> None:
    names = {POLICIES.make(made_of(each, "embedded")).name for each in ALL}
    assert len(names) == len(ALL)
    assert len({each.summary for each in ALL}) == len(ALL)


@pytest.mark.parametrize("workload_class", WORKLOAD_CLASSES)
def test_those_that_fit_a_class_come_first_and_none_is_left_out(workload_class: str) -> None:
    ordered = hopeful(workload_class)  # type: ignore[arg-type]
    assert len(ordered) == len(ALL)
    assert {each.summary for each in ordered} == {each.summary for each in ALL}
    if workload_class == "latency-under-load":
        assert ordered[0].ahead == "short"
        assert ordered[0].preempt == "ahead"
