"""How often is looked, and how much is read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.observer.profile.pace import CPU_SHARE, LONGEST_S, MOST_FOR_TASKS_S, SHORTEST_S, Pace


def settled(cpus: int, fixed_s: float) -> Pace:
    """After many looks of which each cost `fixed_s` besides its tasks."""
    pace = Pace(cpus)
    for _ in range(100):
        allowance_s = pace.allowance_s
        pace.spent(fixed_s + allowance_s, allowance_s)
    return pace


def test_where_looking_is_cheap_it_is_done_five_times_a_second() -> None:
    assert settled(2, 0.0003).interval_s == SHORTEST_S


@settings(deadline=None)
@given(st.integers(1, 1024), st.floats(0, 0.01))
def test_the_budget_holds(cpus: int, fixed_s: float) -> None:
    pace = settled(cpus, fixed_s)
    a_look_s = fixed_s + pace.allowance_s
    assert a_look_s <= CPU_SHARE * cpus * pace.interval_s * 1.01
    assert pace.allowance_s <= MOST_FOR_TASKS_S


@settings(deadline=None)
@given(st.integers(1, 1024), st.floats(0, 10))
def test_looks_never_stop(cpus: int, fixed_s: float) -> None:
    pace = settled(cpus, fixed_s)
    assert SHORTEST_S <= pace.interval_s <= LONGEST_S
    assert pace.allowance_s >= 0


def test_an_emulated_host_gets_more() -> None:
    assert Pace(2, emulated=True).allowance_s > Pace(2).allowance_s


def test_a_dear_look_is_forgotten() -> None:
    pace = Pace(2)
    pace.spent(1.0, 0.0)
    assert pace.interval_s == LONGEST_S
    for _ in range(50):
        pace.spent(0.0, 0.0)
    assert pace.interval_s == SHORTEST_S
