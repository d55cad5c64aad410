"""Everything that can happen to a few tasks, and that the search would see a broken rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.proofs.model import Frame
from tests.proofs.search import BROKEN, QUICK, search

WAITS = "waits 6 ticks, promised are 5"


@pytest.mark.parametrize("name", QUICK)
def test_whatever_hooks_answer_the_promises_hold(name: str) -> None:
    found = search(QUICK[name])
    assert not found.complaint, "\n".join(found.way)
    assert found.states > 1_000


def test_on_one_cpu_the_bound_is_reached_but_not_passed() -> None:
    found = search(QUICK["two tasks, one CPU"])
    assert found.longest_wait == QUICK["two tasks, one CPU"].wait_bound


@pytest.mark.parametrize(
    ("rule", "machine", "complaint"),
    [
        ("clamp", "two tasks, one CPU", WAITS),
        ("ageing", "two tasks, one CPU", WAITS),
        ("keep", "two tasks, one CPU", WAITS),
        ("new key", "two tasks, one CPU", "has not had its slice after 8 ticks"),
        ("look", "a free and a bound task, two CPUs", "waits beside an idle CPU that may run it"),
    ],
)
def test_without_this_rule_the_search_finds_a_way_to_starve(
    rule: str, machine: str, complaint: str
) -> None:
    assert rule in BROKEN
    found = search(replace(QUICK[machine], broken=rule))
    assert found.complaint == complaint
    assert found.way


def test_the_model_offers_every_offset_that_the_frame_can_make() -> None:
    # From W + G before now to W after it: docs/frame.md.
    frame = Frame((frozenset({0}),), (0,), window=2, group_window=3)
    assert frame.offsets == set(range(-5, 3))
