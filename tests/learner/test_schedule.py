from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import schedule
from tests.learner.known_trials import steady

seeds = st.integers(0, 2**31)
trials = st.text("abcdef0123456789", min_size=1, max_size=12)


@steady
@given(seeds, trials, st.integers(0, 250))
def test_each_block_of_four_has_two_of_each(seed: int, trial: str, block: int) -> None:
    orders = [schedule.order(seed, trial, 4 * block + position) for position in range(4)]
    assert Counter(orders) == {"AB": 2, "BA": 2}


def test_all_six_arrangements_of_a_block_occur_about_equally_often() -> None:
    seen = Counter(
        "".join(schedule.order(7, "t", 4 * block + position) for position in range(4))
        for block in range(1200)
    )
    assert len(seen) == 6
    assert all(140 < count < 260 for count in seen.values())


def test_the_schedule_is_the_same_after_a_restart() -> None:
    assert [schedule.order(1, "trial", index) for index in range(8)] == (
        ["BA", "BA", "AB", "AB", "BA", "AB", "BA", "AB"]
    )


@steady
@given(seeds, trials)
def test_other_trials_have_other_schedules(seed: int, trial: str) -> None:
    def first(name: str) -> list[str]:
        return [schedule.order(seed, name, index) for index in range(100)]

    assert first(trial) != first(trial + "x")


@steady
@given(seeds, trials)
def test_pairs_have_loads_of_their_own(seed: int, trial: str) -> None:
    drawn = [schedule.workload_seed(seed, trial, index) for index in range(50)]
    assert len(set(drawn)) == 50
    assert all(0 <= value < 2**31 for value in drawn)


def test_pairs_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="from 0, got -1"):
        schedule.order(1, "t", -1)
    with pytest.raises(ValueError, match="from 0, got -1"):
        schedule.workload_seed(1, "t", -1)
