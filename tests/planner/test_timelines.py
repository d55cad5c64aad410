"""Time goes on from what was written last, by a clock that never steps."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from services.planner.machine import Hold, advance
from services.planner.timelines import Timelines, moved
from shared.optimization import CohortRecord
from tests.planner.world import SECOND, START, opened


class Clock:
    ns = 7

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_goes_on_from_what_was_written_last(clock: Clock) -> None:
    times = Timelines(clock)
    state = opened()
    times.see(state)
    clock.ns += 5 * SECOND
    assert times.now(state) == START + 5 * SECOND
    # Another planner's word counts, though it is behind: its deadlines are by that.
    times.see(replace(state, at_unix_ns=START + SECOND))
    clock.ns += SECOND
    assert times.now(state) == START + 2 * SECOND


def test_wall_time_has_no_say(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Timelines(clock)
    times.see(opened())
    for wall_ns in (0, 10**19):
        monkeypatch.setattr(time, "time_ns", lambda wall_ns=wall_ns: wall_ns)
        assert times.now(opened()) == START


def test_what_nobody_has_seen_is_as_it_was_written(clock: Clock) -> None:
    times = Timelines(clock)
    assert times.now(opened()) == START
    times.see(opened())
    clock.ns += SECOND
    times.forget("o1")
    assert times.now(opened()) == START


def test_a_record_without_a_time_has_wall_time_in_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Timelines(clock)
    monkeypatch.setattr(time, "time_ns", lambda: 3 * START)
    old = replace(opened(), at_unix_ns=0)
    times.see(old)
    clock.ns += SECOND
    assert times.now(old) == 3 * START + SECOND


def test_whatever_clock_it_is_moved_to_as_much_is_left() -> None:
    state = advance(opened(), Hold("paused"), START)
    state = replace(
        state, held_unix_ns=START - SECOND, cohorts=[CohortRecord(hosts=["h1"], began_unix_ns=7)]
    )
    ahead = moved(state, 3600 * SECOND)
    assert moved(ahead, -3600 * SECOND) == state
    moments = {name for name in state.__struct_fields__ if name.endswith("_unix_ns")}
    stay = {"created_unix_ns", "ended_unix_ns"}
    for name in moments - stay:
        assert getattr(ahead, name) - getattr(state, name) == 3600 * SECOND, name
    assert ahead.cohorts[0].began_unix_ns == 7 + 3600 * SECOND


def test_what_is_no_moment_stays_none() -> None:
    state = replace(opened(), deadline_unix_ns=0, cohorts=[CohortRecord(hosts=["h1"])])
    ahead = moved(state, SECOND)
    assert (ahead.deadline_unix_ns, ahead.held_unix_ns) == (0, 0)
    assert ahead.cohorts == state.cohorts
