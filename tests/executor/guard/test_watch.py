"""Silence, orphans and starvation, with a made-up clock."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from services.executor.guard.limits import (
    DEADLINE_S,
    KILL_S,
    LEAST_LIMIT_S,
    MOST_LIMIT_S,
    PRESS_S,
    SILENCE_S,
    TICK_S,
    WINDOW_S,
    WINDOWS,
)
from services.executor.guard.starvation import Starvation
from services.executor.guard.watch import Finding, Watch
from services.executor.host.steering import TIMEOUT_MS

delays = st.floats(0.0, 10.0)


def first(watch: Watch, seconds: float, *, ours: bool, since_s: float = 0.0) -> Finding | None:
    """What the guard finds within some seconds of ticks."""
    for tick in range(1, round(seconds / TICK_S) + 1):
        if found := watch.look(since_s + tick * TICK_S, ours=ours):
            return found
    return None


def test_the_deadlines_fit_into_each_other_and_before_the_kernels_own() -> None:
    assert SILENCE_S + KILL_S < DEADLINE_S
    assert MOST_LIMIT_S + WINDOWS * WINDOW_S + KILL_S + PRESS_S < TIMEOUT_MS / 1000


@given(st.lists(st.floats(0.0, SILENCE_S - 2 * TICK_S), max_size=20))
def test_an_executor_that_beats_in_time_is_never_a_finding(pauses: list[float]) -> None:
    watch = Watch(0.0)
    now_s = 0.0
    watch.beat(now_s)
    for pause_s in pauses:
        assert first(watch, pause_s, ours=True, since_s=now_s) is None
        now_s += round(pause_s / TICK_S) * TICK_S
        watch.beat(now_s)


def test_silence_is_a_hang_within_the_deadline_and_only_under_a_scheduler_of_ours() -> None:
    watch = Watch(0.0)
    watch.beat(0.0)
    assert first(watch, 100.0, ours=False) is None
    found = watch.look(100.1, ours=True)
    assert found is not None
    assert found.cause == "hang"
    assert "100.1 s" in found.reason


def test_a_scheduler_without_an_executor_is_an_orphan_after_a_while() -> None:
    watch = Watch(0.0)
    watch.beat(0.0)
    watch.gone()
    assert first(watch, SILENCE_S, ours=True) is None
    found = first(watch, 1.0, ours=True, since_s=SILENCE_S)
    assert found is not None
    assert found.cause == "orphan"


@given(st.floats(1.0, 1000.0))
def test_time_in_which_the_guard_was_stopped_counts_against_nobody(paused_s: float) -> None:
    watch = Watch(0.0)
    watch.beat(0.0)
    assert watch.look(TICK_S, ours=True) is None
    assert watch.look(paused_s, ours=True) is None


def fed(windows: Iterable[float], *, ours: bool, to: Starvation | None = None) -> list[bool]:
    starvation = to or Starvation()
    return [starvation.window(worst_s, ours=ours) is not None for worst_s in windows]


@given(st.lists(delays))
def test_the_default_is_never_a_finding(windows: list[float]) -> None:
    assert not any(fed(windows, ours=False))


@given(st.lists(delays), st.lists(delays))
def test_a_finding_takes_windows_in_a_row_over_a_limit_that_has_bounds(
    before: list[float], windows: list[float]
) -> None:
    starvation = Starvation()
    fed(before, ours=False, to=starvation)
    limit_s = starvation.limit_s
    assert LEAST_LIMIT_S <= limit_s <= MOST_LIMIT_S
    for at, found in enumerate(fed(windows, ours=True, to=starvation)):
        last = windows[max(0, at - WINDOWS + 1) : at + 1]
        assert found is (len(last) == WINDOWS and min(last) > limit_s)


def test_a_host_that_is_slow_by_itself_is_allowed_more() -> None:
    windows = [2.0] * WINDOWS
    assert fed(windows, ours=True)[-1]
    slow = Starvation()
    fed([0.8] * WINDOWS, ours=False, to=slow)
    assert not any(fed(windows, ours=True, to=slow))


def test_one_freak_second_under_the_default_excuses_nothing() -> None:
    starvation = Starvation()
    fed([0.0, 0.0, 9.0, 0.0, 0.0], ours=False, to=starvation)
    assert starvation.limit_s == LEAST_LIMIT_S


def test_what_was_seen_of_one_scheduler_does_not_count_for_the_next() -> None:
    starvation = Starvation()
    fed([5.0] * (WINDOWS - 1), ours=True, to=starvation)
    starvation.switched()
    assert not any(fed([5.0] * (WINDOWS - 1), ours=True, to=starvation))
