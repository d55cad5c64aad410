"""Change points of made-up series: those that are there, no others, and the best there can be."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.observer.profile.changepoints import CAUTION, SHORTEST, change_points, noise

QUIET = 0.01


def noisy(levels: list[float], length: int, seed: int, deviation: float = 1.0) -> list[list[float]]:
    """Each level for so many rows, with noise."""
    chance = random.Random(seed)
    return [[level + chance.gauss(0, deviation)] for level in levels for _ in range(length)]


def test_jumps_are_found_where_they_are() -> None:
    rows = noisy([0.0, 10.0, 0.0, 10.0], 20, seed=1)
    assert change_points(rows, [QUIET]) == [20, 40, 60]


@pytest.mark.parametrize("seed", range(20))
def test_in_noise_alone_there_is_nothing(seed: int) -> None:
    rows = [
        a + b for a, b in zip(noisy([0.0], 200, seed), noisy([5.0], 200, -seed - 1), strict=True)
    ]
    assert change_points(rows, [QUIET, QUIET]) == []


def test_one_channel_is_enough_and_the_others_do_not_hide_it() -> None:
    still = noisy([3.0], 60, seed=2)
    jumps = noisy([0.0, 6.0], 30, seed=3)
    rows = [a + b + c for a, b, c in zip(still, jumps, still, strict=True)]
    assert change_points(rows, [QUIET] * 3) == [30]


def test_what_is_below_the_floor_is_no_change() -> None:
    rows = [[0.0]] * 30 + [[0.1]] * 30
    assert change_points(rows, [0.01]) == [30]
    assert change_points(rows, [1.0]) == []


def test_an_incident_shorter_than_a_segment_is_none() -> None:
    rows = noisy([0.0], 60, seed=4, deviation=0.1)
    for at in range(30, 30 + SHORTEST // 2):
        rows[at] = [1.0]
    assert change_points(rows, [0.5]) == []


def test_of_too_little_nothing_is_said() -> None:
    assert change_points([], [1.0]) == []
    assert change_points([[float(at)] for at in range(2 * SHORTEST - 1)], [1.0]) == []


def test_noise_does_not_see_jumps() -> None:
    rows = noisy([0.0, 50.0, 0.0], 100, seed=5)
    assert noise([row[0] for row in rows]) == pytest.approx(1.0, abs=0.2)
    assert noise([1.0]) == 0.0


def cost_of(rows: list[list[float]], cuts: tuple[int, ...]) -> float:
    """As the module says it, written the long way."""
    total = 0.0
    for begin, end in itertools.pairwise([0, *cuts, len(rows)]):
        for channel in zip(*rows[begin:end], strict=True):
            mean = math.fsum(channel) / len(channel)
            total += math.fsum((value - mean) ** 2 for value in channel)
    return total + len(cuts) * CAUTION * (len(rows[0]) + 1) * math.log(len(rows))


@given(
    st.integers(1, 2).flatmap(
        lambda channels: st.lists(
            st.lists(st.integers(-20, 20).map(float), min_size=channels, max_size=channels),
            min_size=2 * SHORTEST,
            max_size=14,
        )
    )
)
def test_there_is_no_cheaper_segmentation(rows: list[list[float]]) -> None:
    floors = [max(1.0, noise([row[at] for row in rows])) for at in range(len(rows[0]))]
    scaled = [[v / f for v, f in zip(row, floors, strict=True)] for row in rows]
    found = tuple(change_points(rows, [1.0] * len(floors)))
    ends = (0, *found, len(rows))
    assert all(b - a >= SHORTEST for a, b in itertools.pairwise(ends))
    places = range(SHORTEST, len(rows) - SHORTEST + 1)
    every = (
        cuts
        for count in range(len(rows) // SHORTEST)
        for cuts in itertools.combinations(places, count)
        if all(b - a >= SHORTEST for a, b in itertools.pairwise((0, *cuts, len(rows))))
    )
    best = min(cost_of(scaled, cuts) for cuts in every)
    assert cost_of(scaled, found) == pytest.approx(best, abs=1e-6)
