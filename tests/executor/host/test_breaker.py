"""The breaker's life, as a state machine that hypothesis drives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.executor.host.breaker import (
    CALM_S,
    FIRST_S,
    FORGET_S,
    LONGEST_S,
    MAX_FAULTS,
    MAX_TROUBLES,
    WINDOW_S,
    Breaker,
    S,
    backoff_s,
    loaded,
    phase,
    settled,
    troubled,
)

START = 1_000_000 * S
steps = st.lists(
    st.tuples(st.sampled_from(["fault", "reload", "load", "wait"]), st.integers(0, 2 * LONGEST_S)),
    max_size=60,
)


def opened(at: int = START, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for _ in range(MAX_FAULTS):
        breaker = troubled(breaker, "fault", "it stalled", at)
    return breaker


@given(steps)
def test_it_is_always_in_a_phase_that_its_past_allows(walk: list[tuple[str, int]]) -> None:
    breaker, now = Breaker(), START
    for step, seconds in walk:
        before = phase(breaker, now)
        openings = breaker.openings
        if step in {"fault", "reload"}:
            breaker = troubled(breaker, step, "x", now)  # type: ignore[arg-type]
        elif step == "load" and before != "open":
            breaker = loaded(breaker, now)
        else:
            now += seconds * S
            continue
        after = phase(breaker, now)
        # Only trouble opens it, and nothing but time and a load closes it.
        assert after in {before, "open"}
        if after == "open":
            assert 0 < breaker.until_unix_ns - now <= LONGEST_S * S
            assert breaker.why
        if before == "open":
            assert breaker.openings == openings
        if before == "half-open" and step == "fault":
            assert after == "open"
        assert len(breaker.troubles) < MAX_TROUBLES or after == "open"


@given(steps, st.integers(0, LONGEST_S))
def test_it_never_stays_open_for_longer_than_the_longest(
    walk: list[tuple[str, int]], later: int
) -> None:
    breaker, now = Breaker(), START
    for step, seconds in walk:
        if step in {"fault", "reload"}:
            breaker = troubled(breaker, step, "x", now)  # type: ignore[arg-type]
        now += seconds * S
    assert phase(breaker, now + (LONGEST_S + later) * S) != "open"


def test_faults_of_a_whole_day_do_not_open_it() -> None:
    breaker = Breaker()
    for hour in range(24):
        breaker = troubled(breaker, "fault", "x", START + hour * 3600 * S)
    assert phase(breaker, START + 24 * 3600 * S) == "closed"


def test_reloads_open_it_later_than_faults() -> None:
    breaker = Breaker()
    for _ in range(MAX_TROUBLES - 1):
        breaker = troubled(breaker, "reload", "x", START)
    assert phase(breaker, START) == "closed"
    assert phase(troubled(breaker, "reload", "x", START), START) == "open"


def test_it_opens_half_opens_and_closes() -> None:
    breaker = opened()
    assert "3 faults" in breaker.why
    assert phase(breaker, START + FIRST_S * S - 1) == "open"
    later = START + FIRST_S * S
    assert phase(breaker, later) == "half-open"
    breaker = loaded(breaker, later)
    assert phase(breaker, later + CALM_S * S - 1) == "half-open"
    assert phase(breaker, later + CALM_S * S) == "closed"


def test_one_fault_opens_a_half_open_one_for_twice_as_long() -> None:
    breaker, now = opened(), START
    for opening in range(1, 9):
        assert breaker.until_unix_ns - now == backoff_s(opening) * S
        now = breaker.until_unix_ns
        breaker = troubled(loaded(breaker, now), "fault", "again", now)
        assert phase(breaker, now) == "open"
    assert backoff_s(2) == 2 * FIRST_S
    assert backoff_s(60) == LONGEST_S


def test_peace_is_forgiving() -> None:
    breaker = opened()
    now = breaker.until_unix_ns + FORGET_S * S
    breaker = opened(now, loaded(breaker, now - CALM_S * S))
    assert (breaker.openings, breaker.until_unix_ns) == (1, now + FIRST_S * S)


def test_trouble_before_the_window_is_forgotten() -> None:
    breaker = troubled(Breaker(), "fault", "x", START)
    breaker = troubled(breaker, "fault", "x", START + WINDOW_S * S)
    assert len(breaker.troubles) == 1


@given(steps)
def test_while_no_clock_is_set_back_there_is_nothing_to_settle(walk: list[tuple[str, int]]) -> None:
    breaker, now = Breaker(), START
    for step, seconds in walk:
        if step in {"fault", "reload"}:
            breaker = troubled(breaker, step, "x", now)  # type: ignore[arg-type]
        elif step == "load":
            breaker = loaded(breaker, now)
        assert settled(breaker, now) == breaker
        now += seconds * S


def test_a_clock_that_is_set_back_keeps_it_open_for_no_longer_than_an_opening() -> None:
    breaker = settled(opened(START + 3600 * S), START)
    assert phase(breaker, START + FIRST_S * S - 1) == "open"
    assert phase(breaker, START + FIRST_S * S) == "half-open"
    breaker = settled(loaded(breaker, START + 3600 * S), START + FIRST_S * S)
    assert phase(breaker, START + (FIRST_S + CALM_S) * S) == "closed"


def test_trouble_by_a_clock_that_was_ahead_counts_for_no_longer_than_the_window() -> None:
    breaker = troubled(Breaker(), "fault", "x", START + 3600 * S)
    breaker = settled(breaker, START)
    breaker = troubled(breaker, "fault", "x", START + WINDOW_S * S)
    assert len(breaker.troubles) == 1
