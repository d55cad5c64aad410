"""Predictions are held against outcomes, and a mind that was wrong reaches further."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.learner.calibration import HOST_LATEST, MOST_WIDENED, calibrated
from services.planner.minds.rules import EXPECTED, expectation
from shared.messages import Calibrated, Objective, Outcome, Recollection
from shared.outcomes import unsound
from tests.learner.known_outcomes import elsewhere, outcome
from tests.learner.known_trials import steady
from tests.planner.test_embedded import question


def outcomes(
    ratios: Iterable[float], *, host: str = "", mind: str = "embedded", at: int = 1
) -> list[Outcome]:
    return [
        replace(
            outcome(ratio=ratio, optimization=f"o{mind}{host}{number}", at=at + number),
            host=host or f"h{number}",
            mind=mind,
            origin="rule",
            predicted_ratio=0.5,
            predicted_low=0.4,
            predicted_high=0.6,
        )
        for number, ratio in enumerate(ratios)
    ]


def row(told: Sequence[Outcome]) -> Calibrated:
    (only,) = calibrated(told)
    return only


def test_what_was_predicted_rightly_is_inside_and_widens_nothing() -> None:
    found = row(outcomes([0.45, 0.5, 0.5, 0.55] * 3))
    assert (found.mind, found.workload_class, found.origin) == ("embedded", "latency", "rule")
    assert (found.outcomes, found.covered, found.widen) == (12, 1.0, 0.0)
    assert found.bias == pytest.approx(0.0, abs=0.01)


def test_four_of_five_outcomes_are_inside_once_it_is_widened() -> None:
    told = outcomes([0.5] * 5 + [0.9, 0.8, 0.7, 0.3, 1.0])
    found = row(told)
    assert found.covered == 0.5
    assert found.bias > 0
    low, high = 0.4 / math.exp(found.widen), 0.6 * math.exp(found.widen)
    assert sum(low - 1e-9 <= each.ratio <= high + 1e-9 for each in told) == 8


def test_worse_is_worse_whatever_direction_is_good() -> None:
    rate = elsewhere(objective="requests_per_s:higher")
    lower = outcomes([0.25] * 3)
    higher = [replace(each, fingerprint=rate) for each in lower]
    assert row(lower).bias == pytest.approx(-math.log(2))
    assert row(higher).bias == pytest.approx(math.log(2))


def test_of_a_few_outcomes_nothing_follows() -> None:
    assert row(outcomes([2.0] * 7)).widen == 0.0
    assert row(outcomes([2.0] * 8)).widen > 0


def test_one_host_does_not_outvote_the_others() -> None:
    honest = outcomes([0.5] * 40)
    liar = outcomes([9.0] * 500, host="liar", at=10**6)
    found = row([*honest, *liar])
    assert found.outcomes == 40 + HOST_LATEST
    assert found.widen == 0.0


def test_a_screening_counts_less_than_its_confirmation() -> None:
    (once,) = outcomes([0.5])
    screened = replace(once, pairs=3, ratio=0.9, verdict="inconclusive")
    assert row([screened, once]).covered == 1.0
    assert row([once, screened]).outcomes == 1


def test_what_nobody_predicted_is_not_there() -> None:
    assert calibrated([outcome(), replace(outcome(), mind="embedded")]) == []


@steady
@given(st.lists(st.floats(1e-6, 1e6), max_size=30), st.integers(0, 99))
def test_whatever_came_in_whatever_order_the_figures_are_bounded(
    ratios: list[float], seed: int
) -> None:
    told = outcomes(ratios) + outcomes(ratios, mind="llm")
    rows = calibrated(told)
    random.Random(seed).shuffle(told)
    assert calibrated(told) == rows
    for each in rows:
        assert 0 <= each.covered <= 1
        assert 0 <= each.widen <= MOST_WIDENED
        assert math.isfinite(each.bias)


@pytest.mark.parametrize(("low", "high"), [(0.6, 0.9), (-1.0, 0.9), (0.1, math.inf), (math.nan, 1)])
def test_a_prediction_that_is_none_is_refused(low: float, high: float) -> None:
    told = replace(outcome(), predicted_ratio=0.5, predicted_low=low, predicted_high=high)
    assert "prediction" in unsound(told, 10**18)


def test_the_embedded_mind_reaches_as_much_further_as_it_was_wrong() -> None:
    asked = question()
    known = EXPECTED["latency-under-load"]
    assert expectation(asked) == known

    def knowing(**changes: object) -> Recollection:
        of = Calibrated(
            mind="embedded",
            workload_class="latency-under-load",
            origin="rule",
            outcomes=20,
            covered=0.4,
            bias=0.2,
            widen=math.log(2),
        )
        return Recollection(calibration=[replace(of, **changes)])

    wider = expectation(replace(asked, recollection=knowing()))
    assert wider == pytest.approx((known.ratio, known.low / 2, known.high * 2))
    rate = replace(
        asked,
        objective=Objective(metric="requests_per_s", direction="higher"),
        recollection=knowing(),
    )
    assert expectation(rate).low == pytest.approx(1 / known.high / 2)
    for other in ({"mind": "llm"}, {"workload_class": "idle"}, {"origin": "recall"}):
        assert expectation(replace(asked, recollection=knowing(**other))) == known
    for lie in (math.inf, math.nan, 1e9, -5.0):
        found = expectation(replace(asked, recollection=knowing(widen=lie)))
        assert known.low / 4 - 1e-9 <= found.low <= known.low
