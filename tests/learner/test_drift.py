"""Drift: found when it stays, not when it comes and goes; never without a reason."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.learner.drift import BLOCK, DAY, Detector, Watch, Watched
from shared.messages import Vitals

A_DAY = BLOCK * DAY
HALF_A_YEAR = 180 * A_DAY
calm = settings(deadline=None, derandomize=True, max_examples=25)


def fired(values: Iterator[float]) -> list[int]:
    """Samples at which it fired."""
    detector = Detector()
    return [number for number, each in enumerate(values) if detector.take(each) is not None]


def noisy(of: Callable[[int], float], count: int, seed: int, spread: float) -> Iterator[float]:
    dice = random.Random(seed)
    return (of(number) + dice.gauss(0, spread) for number in range(count))


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.2, 0.5, 1.0])
def test_noise_alone_fires_at_most_once_in_half_a_year(spread: float) -> None:
    for seed in range(4):
        assert len(fired(noisy(lambda _: 0.0, HALF_A_YEAR, seed, spread))) <= 1


@calm
@given(
    st.floats(0.4, 3.0),
    st.sampled_from([-1, 1]),
    st.floats(0.0, 0.15),
    st.integers(0, 99),
    st.floats(-5, 5),
)
def test_a_step_fires_within_half_a_day_and_once(
    step: float, sign: int, spread: float, seed: int, level: float
) -> None:
    at = 3 * A_DAY
    height = sign * step
    found = fired(
        noisy(lambda number: level + (height if number >= at else 0), 30 * A_DAY, seed, spread)
    )
    assert len(found) == 1
    assert at < found[0] <= at + A_DAY // 2


@calm
@given(st.floats(0.0, 3.0), st.integers(1, 24), st.floats(0.0, 0.2), st.integers(0, 99))
def test_a_load_that_alternates_within_a_day_never_fires(
    height: float, hours: int, spread: float, seed: int
) -> None:
    period = hours * BLOCK

    def wave(number: int) -> float:
        return height * math.sin(2 * math.pi * number / period)

    assert fired(noisy(wave, 60 * A_DAY, seed, spread)) == []


def test_a_load_that_alternates_over_weeks_is_news_once_for_each_of_its_states() -> None:
    found = fired(
        noisy(lambda number: 1.5 * ((number // (5 * A_DAY)) % 2), HALF_A_YEAR, seed=1, spread=0.1)
    )
    assert len(found) == 1


@calm
@given(st.integers(1, 2 * BLOCK), st.floats(0.5, 5.0))
def test_a_spike_of_up_to_two_hours_is_nothing(length: int, height: float) -> None:
    at = 4 * A_DAY
    spiked = range(at, at + length)
    found = fired(noisy(lambda number: height if number in spiked else 0.0, 9 * A_DAY, 2, 0.05))
    assert found == []


@calm
@given(st.lists(st.floats(-50, 50), max_size=3 * A_DAY))
def test_two_drifts_are_a_day_apart_whatever_comes(values: list[float]) -> None:
    found = fired(iter(values))
    assert all(then - before >= A_DAY for before, then in itertools.pairwise(found))
    assert not found or found[0] >= A_DAY


def looks(count: int, wait_share: Callable[[int], float], *, busy: float = 1.0) -> Iterator[Vitals]:
    """A host's counters every ten minutes."""
    run = wait = 0.0
    for number in range(count):
        run += 600e9 * busy
        wait += 600e9 * busy * wait_share(number)
        yield Vitals(
            boot_id="b", at_ns=number * 600 * 10**9, run_ns=round(run), wait_ns=round(wait)
        )


def drifts(of: Iterator[Vitals]) -> list[Watched]:
    watch = Watch()
    return [found for each in of for found in watch.take(each)]


def test_waiting_that_trebles_is_told_with_its_figures() -> None:
    (found,) = drifts(looks(4 * A_DAY, lambda number: 0.9 if number > 2 * A_DAY else 0.3))
    assert found.figure == "waiting"
    assert found.low == pytest.approx(0.3, rel=0.01)
    assert found.high == pytest.approx(0.3, rel=0.01)
    assert found.found == pytest.approx(0.9, rel=0.01)


def test_an_idle_host_s_waiting_says_nothing() -> None:
    assert (
        drifts(looks(4 * A_DAY, lambda number: 9.0 if number > 2 * A_DAY else 0.3, busy=0.01)) == []
    )


def test_a_reboot_and_a_gap_are_no_samples() -> None:
    watch = Watch()
    first = Vitals(boot_id="a", at_ns=0, run_ns=0, wait_ns=0)
    for later in (
        Vitals(boot_id="b", at_ns=600 * 10**9, run_ns=10**12, wait_ns=10**15),
        Vitals(boot_id="b", at_ns=10**15, run_ns=10**12, wait_ns=10**15),
        Vitals(boot_id="b", at_ns=10**15 + 600 * 10**9, run_ns=0, wait_ns=0),
    ):
        for _ in range(A_DAY):
            assert watch.take(first) == []
            assert watch.take(later) == []
