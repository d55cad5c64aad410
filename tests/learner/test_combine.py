from __future__ import annotations

import math
import random
from statistics import NormalDist

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.learner.repository.combine import combine, conflicting
from shared import statistics
from shared.messages import Outcome
from tests.learner.known_outcomes import outcome
from tests.learner.known_trials import steady


def trial(ratio: float, error: float, pairs: int = 8) -> Outcome:
    """One whose 95 % interval is as a normal one of that standard error."""
    reach = 1.959964 * error
    return msgspec.structs.replace(
        outcome(pairs=pairs),
        ratio=ratio,
        low=ratio * math.exp(-reach),
        high=ratio * math.exp(reach),
    )


@pytest.mark.parametrize(
    ("level", "freedom", "reach"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 7, 2.36462),
        (0.99, 30, 2.74999),
        (0.5, 4, 0.740697),
    ],
)
def test_students_intervals_reach_as_far_as_in_the_tables(
    level: float, freedom: int, reach: float
) -> None:
    assert statistics.student(level, freedom) == pytest.approx(reach, rel=1e-5)


def test_one_trial_speaks_for_itself() -> None:
    told = combine([trial(0.5, 0.1)])
    assert told is not None
    assert (told.ratio, told.trials, told.spread) == (0.5, 1, 0.0)
    assert (told.low, told.high) == (trial(0.5, 0.1).low, trial(0.5, 0.1).high)


def test_two_trials_have_the_span_of_both() -> None:
    told = combine([trial(0.5, 0.1), trial(0.6, 0.1)])
    assert told is not None
    assert told.ratio == pytest.approx(math.sqrt(0.5 * 0.6))
    assert (told.low, told.high) == (trial(0.5, 0.1).low, trial(0.6, 0.1).high)


def test_the_surer_trial_counts_more() -> None:
    told = combine([trial(0.5, 0.05), trial(0.55, 0.2)])
    assert told is not None
    assert abs(math.log(told.ratio / 0.5)) < abs(math.log(told.ratio / 0.55)) / 10


def test_dersimonian_laird_and_hartung_knapp_of_a_known_example() -> None:
    """By hand: errors of 0.1 and logs -0.9, -0.5, -0.1 give Q = 32 and a variance of 0.15."""
    told = combine([trial(math.exp(log), 0.1) for log in (-0.9, -0.5, -0.1)])
    assert told is not None
    assert told.ratio == pytest.approx(math.exp(-0.5))
    assert told.spread**2 == pytest.approx(0.15, rel=1e-4)
    # Q with the new weights is 2, as large as its freedom: the error is sqrt(0.16 / 3).
    reach = 4.30265 * math.sqrt(0.16 / 3)
    assert told.low == pytest.approx(math.exp(-0.5 - reach), rel=1e-4)


def test_trials_without_an_interval_say_nothing() -> None:
    blind = msgspec.structs.replace(outcome(pairs=3), low=1e-6, high=1e6)
    lone = msgspec.structs.replace(outcome(ratio=1.0, pairs=0), low=1.0, high=1.0)
    assert combine([]) is combine([blind, lone]) is None
    told = combine([blind, trial(0.5, 0.1), lone])
    assert told is not None
    assert told.trials == 1


def test_nobody_is_so_sure_that_others_do_not_count() -> None:
    liar = msgspec.structs.replace(outcome(ratio=0.5), low=0.5, high=0.5)
    told = combine([liar, trial(1.0, 0.05), trial(1.0, 0.05), trial(1.02, 0.05)])
    assert told is not None
    assert told.ratio > 0.7
    assert told.high > 1


@steady
@given(
    st.lists(st.tuples(st.floats(1e-5, 1e5), st.floats(0.0, 3.0), st.integers(0, 24)), max_size=12),
    st.randoms(),
)
def test_an_interval_holds_its_ratio_and_the_order_does_not_matter(
    drawn: list[tuple[float, float, int]], shuffler: random.Random
) -> None:
    trials = [trial(*each) for each in drawn]
    told = combine(trials)
    shuffler.shuffle(trials)
    again = combine(trials)
    if told is None or again is None:
        assert told is again
        return
    assert told.low <= told.ratio * (1 + 1e-9)
    assert told.ratio <= told.high * (1 + 1e-9)
    assert told.low > 0
    assert math.isfinite(told.high)
    assert again.ratio == pytest.approx(told.ratio, rel=1e-6)


def test_trials_that_differ_by_more_than_their_noise_are_covered_as_promised() -> None:
    """True log ratios around -0.4 with a spread of 0.2: 95 % intervals hold the mean that often."""
    generator, normal, held = random.Random(1), NormalDist(), 0
    repetitions = 1000
    for _ in range(repetitions):
        trials = []
        for _ in range(4):
            error = generator.choice([0.05, 0.1])
            log = -0.4 + 0.2 * normal.inv_cdf(generator.random())
            log += error * normal.inv_cdf(generator.random())
            trials.append(trial(math.exp(log), error))
        told = combine(trials)
        assert told is not None
        held += told.low <= math.exp(-0.4) <= told.high
    assert 0.93 <= held / repetitions <= 0.98


@pytest.mark.parametrize(
    "trials",
    [
        [outcome(), outcome(verdict="revert")],
        [outcome(verdict="inconclusive", ratio=ratio) for ratio in (0.8, 1.3)],
    ],
)
def test_one_verdict_against_another_or_two_clear_sides_are_a_conflict(
    trials: list[Outcome],
) -> None:
    assert conflicting(trials)


@pytest.mark.parametrize(
    "trials",
    [
        [outcome()],
        [outcome(), outcome(verdict="inconclusive")],
        [outcome(verdict="inconclusive", ratio=ratio) for ratio in (0.95, 1.05)],
    ],
)
def test_doubt_is_no_conflict(trials: list[Outcome]) -> None:
    assert not conflicting(trials)
