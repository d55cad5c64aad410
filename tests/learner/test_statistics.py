from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import statistics
from tests.learner.known_trials import steady

some = st.lists(st.floats(-5, 5), min_size=2, max_size=30)


def test_mean_deviation_and_median_of_known_values() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    assert statistics.mean(values) == 5.0
    assert statistics.deviation(values) == pytest.approx(math.sqrt(32 / 7))
    assert statistics.median(values) == 4.5
    assert statistics.median([3.0, 1.0, 2.0]) == 2.0


def test_autocorrelation_of_known_values() -> None:
    assert statistics.autocorrelation([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(0.4)
    assert statistics.autocorrelation([1.0, -1.0, 1.0, -1.0]) == pytest.approx(-0.75)


def test_autocorrelation_needs_three_values_and_variance() -> None:
    assert statistics.autocorrelation([1.0, 2.0]) == 0.0
    assert statistics.autocorrelation([0.1 + 0.2, 0.3, 0.3, 0.3]) == 0.0


def test_values_that_follow_each_other_widen_the_deviation_and_alternating_ones_do_not() -> None:
    following = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    alternating = [1.0, 2.0] * 4
    assert statistics.effective_deviation(following) > 1.5 * statistics.deviation(following)
    assert statistics.effective_deviation(alternating) == statistics.deviation(alternating)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("alpha", [0.001, 0.025, 0.05, 0.2])
def test_the_first_bound_solves_lais_equation(freedom: int, alpha: float) -> None:
    """1 - F(a) + a f(a) = alpha for Student's t, integrated here in its usual form."""
    start = freedom + 1
    bound = statistics.reach(start, start, alpha) * math.sqrt(start)

    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))

    def density(t: float) -> float:
        return scale * math.pow(1 + t * t / freedom, -(freedom + 1) / 2)

    steps = 20_000
    step = bound / steps
    below = sum(density((i + 0.5) * step) for i in range(steps)) * step
    assert 0.5 - below + bound * density(bound) == pytest.approx(alpha, rel=1e-3)


def test_the_sequence_narrows_with_more_values_and_is_wider_than_one_look_allows() -> None:
    widths = [statistics.reach(count, 8, 0.05) for count in range(8, 200)]
    assert widths == sorted(widths, reverse=True)
    # Student's t quantile for a single look at eight values is 1.895.
    assert widths[0] * math.sqrt(8) > 1.895


def test_there_is_no_bound_before_the_start() -> None:
    assert math.isinf(statistics.half_width([0.0, 1.0, 0.5], 8, 0.05))


@pytest.mark.parametrize("start", [2, 4, 8])
def test_the_sequence_covers_the_mean_at_all_looks_at_once(start: int) -> None:
    """1,500 normal series, looked at from `start` to 24: each side misses in at most 5 %."""
    generator = random.Random(start)
    runs, missed_low, missed_high = 1500, 0, 0
    for _ in range(runs):
        values = [generator.gauss(0, 1) for _ in range(24)]
        total = square = 0.0
        low = high = False
        for count, value in enumerate(values, start=1):
            total += value
            square += value * value
            if count < start:
                continue
            deviation = math.sqrt((square - total * total / count) / (count - 1))
            width = deviation * statistics.reach(count, start, 0.05)
            low |= total / count - width > 0
            high |= total / count + width < 0
        missed_low += low
        missed_high += high
    # Two standard errors above what is promised, and well above nothing: it can fail both ways.
    for missed in (missed_low, missed_high):
        assert 0.01 * runs < missed < (0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)) * runs


def test_a_limit_stays_reachable_until_even_the_best_future_falls_short() -> None:
    def reachable(centre: float, last: int) -> bool:
        values = [centre + (0.1 if index % 2 else -0.1) for index in range(8)]
        return statistics.can_pass(values, 0.0, start=8, last=last, alpha=0.05)

    assert reachable(0.05, 24)
    assert not reachable(-0.1, 24)
    assert not reachable(-0.1, 8)
    assert not reachable(0.05, 8)


def test_before_the_start_everything_is_reachable() -> None:
    assert statistics.can_pass([-9.0, -9.1], 0.0, start=8, last=24, alpha=0.05)


@steady
@given(some)
def test_the_median_lies_in_its_bootstrap_interval(values: list[float]) -> None:
    low, high = statistics.median_interval(values, level=0.95, seed="s", resamples=200)
    assert min(values) <= low <= high <= max(values)


def test_the_bootstrap_repeats_itself_and_narrows_with_more_values() -> None:
    generator = random.Random(5)
    values = [generator.gauss(0, 1) for _ in range(100)]
    first = statistics.median_interval(values, level=0.95, seed="s")
    assert first == statistics.median_interval(values, level=0.95, seed="s")
    few = statistics.median_interval(values[:10], level=0.95, seed="s")
    assert first[1] - first[0] < few[1] - few[0]


def test_the_bootstrap_interval_covers_the_median() -> None:
    generator = random.Random(11)
    runs = 200
    covered = 0
    for run in range(runs):
        values = [generator.gauss(0, 1) for _ in range(24)]
        low, high = statistics.median_interval(values, level=0.95, seed=str(run), resamples=300)
        covered += low <= 0 <= high
    assert 0.85 * runs < covered


def test_one_value_is_its_own_interval() -> None:
    assert statistics.median_interval([0.5], level=0.95, seed="s") == (0.5, 0.5)
