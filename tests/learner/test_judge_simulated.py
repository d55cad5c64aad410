"""The judge's error rates over whole trials, asked after every pair as in life.

Seeds are fixed, so these either always pass or always fail. bench/judge.py has more trials
and the comparison with the usual methods.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest

from shared.statistics import LOOK_AGAIN
from tests.learner.known_trials import Noise, drifting, end, heavy, simulated, spec, white

ALPHA = 0.05
TRIALS = 400
SLACK = 2 * math.sqrt(ALPHA * (1 - ALPHA) / TRIALS)
"""Two standard errors of a share of ALPHA."""

NOISES = {
    "normal": white(0.05),
    "heavy tails": heavy(0.05),
    "drift of 4 %": drifting(0.02, 0.04),
    "drift of 40 %": drifting(0.02, 0.40),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
@pytest.mark.parametrize("max_pairs", [8, 40])
def test_without_a_difference_at_most_alpha_are_promoted(noise: Noise, max_pairs: int) -> None:
    # No least effect: the hardest case for the bound.
    of = spec(least_effect=0.0, max_pairs=max_pairs)
    words = Counter(end(of, rounds)[0].verdict for rounds in simulated(of, noise, TRIALS, seed=1))
    assert words["promote"] <= (ALPHA + SLACK) * TRIALS
    assert words["revert"] <= (ALPHA + SLACK) * TRIALS
    assert words["continue"] == 0


def test_at_just_the_least_useful_effect_at_most_alpha_are_promoted() -> None:
    of = spec(least_effect=0.10)
    promoted = sum(
        end(of, rounds)[0].verdict == "promote"
        for rounds in simulated(of, white(0.05), TRIALS, seed=2, effect=0.90)
    )
    assert 0 < promoted <= (ALPHA + SLACK) * TRIALS


@pytest.mark.parametrize(
    ("effect", "sigma", "share", "pairs"),
    [
        # The effect, the noise of one measurement, and what the trial should make of it.
        (0.90, 0.03, 0.97, 10),
        (0.50, 0.03, 1.00, 8),
        (0.50, 0.20, 0.97, 12),
    ],
)
def test_a_true_effect_is_found(effect: float, sigma: float, share: float, pairs: float) -> None:
    of = spec()
    ends = [end(of, rounds) for rounds in simulated(of, white(sigma), 150, seed=3, effect=effect)]
    promoted = [count for decision, count in ends if decision.verdict == "promote"]
    assert len(promoted) >= share * len(ends)
    assert sum(promoted) / len(promoted) <= pairs


def test_a_drift_does_not_hide_a_true_effect() -> None:
    of = spec()
    promoted = sum(
        end(of, rounds)[0].verdict == "promote"
        for rounds in simulated(of, drifting(0.02, 0.04), 150, seed=4, effect=0.90)
    )
    assert promoted >= 0.97 * 150


def test_harm_is_reverted_within_few_pairs() -> None:
    of = spec()
    ends = [end(of, rounds) for rounds in simulated(of, white(0.05), 150, seed=5, effect=1.5)]
    assert all(decision.verdict == "revert" for decision, _ in ends)
    assert sum(count for _, count in ends) / len(ends) < 6


def test_giving_up_early_saves_most_of_the_rounds_of_a_useless_trial() -> None:
    of = spec(max_pairs=40)
    ends = [end(of, rounds) for rounds in simulated(of, white(0.05), 150, seed=6)]
    assert sum(count for _, count in ends) / len(ends) < 20


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_six_fresh_pairs_err_no_more_whatever_is_remembered(noise: Noise) -> None:
    # What drifted, or was only praised, has no difference now: its pairs are all that counts.
    of = spec(least_effect=0.0, min_pairs=LOOK_AGAIN, max_pairs=LOOK_AGAIN)
    words = Counter(end(of, rounds)[0].verdict for rounds in simulated(of, noise, TRIALS, seed=7))
    assert words["promote"] <= ALPHA * TRIALS
    assert words["revert"] <= ALPHA * TRIALS


def test_six_fresh_pairs_find_what_still_holds() -> None:
    of = spec(min_pairs=LOOK_AGAIN, max_pairs=LOOK_AGAIN)
    found = sum(
        end(of, rounds)[0].verdict == "promote"
        for rounds in simulated(of, white(0.05), 150, seed=8, effect=0.8)
    )
    assert found >= 0.95 * 150
