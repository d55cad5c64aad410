"""Phases of made-up runs, and what is told of them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.observer.inventory import inventory
from services.observer.profile.classifier import Classification, classify
from services.observer.profile.phased import agreed, awake, interpolated, phases_of
from services.observer.profile.phases import Course, course
from services.observer.profile.sampler import Beat, Details, GroupUsage, Sample
from services.observer.profile.summary import summarize
from shared.messages import Phase
from tests.observer.synthetic import host, reading, sample

BEAT_S = 0.05
CPUS = 2

Behaviour = tuple[float, float, float, float]
"""CPUs used, share of the time waiting for one, share waiting for storage, switches/s."""
COMPUTES: Behaviour = (2.0, 0.9, 0.0, 400.0)
WRITES: Behaviour = (0.1, 0.0, 0.8, 300.0)
STILL: Behaviour = (0.02, 0.0, 0.0, 200.0)
TALKS: Behaviour = (2.0, 0.9, 0.0, 20_000.0)


def beats(*run: tuple[float, Behaviour], seed: int = 1, grouped: bool = True) -> list[Beat]:
    """A run: so many seconds of each behaviour, with noise."""
    chance = random.Random(seed)
    at_s, used_us, waited_us, stalled_us, switches = 0.0, 0.0, 0.0, 0.0, 0.0
    found: list[Beat] = []

    def look() -> None:
        stat = host(
            user_ticks=int(used_us / 1e4),
            idle_ticks=int(max(0.0, CPUS * at_s * 100 - used_us / 1e4)),
            iowait_ticks=0 if grouped else int(stalled_us / 1e4) * CPUS,
            switches=int(switches),
        )
        group = GroupUsage(int(used_us), 0, 0) if grouped else None
        told = (int(waited_us), int(stalled_us)) if grouped else (None, None)
        found.append(Beat(at_s, stat, group, *told))

    look()
    for seconds, (cpus, waits, stalls, rate) in run:
        for _ in range(round(seconds / BEAT_S)):
            step_s = BEAT_S * chance.uniform(0.8, 1.2)
            at_s += step_s
            used_us += step_s * 1e6 * cpus * chance.uniform(0.95, 1.0)
            waited_us += step_s * 1e6 * waits * chance.uniform(0.9, 1.1)
            stalled_us += step_s * 1e6 * stalls * chance.uniform(0.9, 1.1)
            switches += step_s * rate * chance.uniform(0.8, 1.25)
            look()
    return found


def test_a_run_that_alternates_is_seen_as_such() -> None:
    seen = course(beats(*[(0.8, COMPUTES), (0.4, WRITES)] * 5))
    assert [len(kind.stretches) for kind in seen.kinds] == [5, 5]
    assert (seen.changes, seen.returns) == (9, 8)
    computes, writes = seen.kinds
    assert computes.share == pytest.approx(2 / 3, abs=0.05)
    assert computes.features["cpu_used_cpus"] == pytest.approx(2.0, rel=0.1)
    assert writes.features["cpu_used_cpus"] == pytest.approx(0.1, rel=0.5)
    assert writes.features["storage_wait_share"] == pytest.approx(0.8, rel=0.1)
    assert writes.features["cpu_wait_share"] < 0.1


def test_without_a_group_the_hosts_counters_tell_it() -> None:
    seen = course(beats(*[(1.0, COMPUTES), (1.0, WRITES)] * 3, grouped=False))
    assert [len(kind.stretches) for kind in seen.kinds] == [3, 3]


def test_two_ways_to_fill_all_cpus_differ_in_how_often_they_switch() -> None:
    seen = course(beats(*[(0.8, COMPUTES), (0.8, TALKS)] * 3))
    assert len(seen.kinds) == 2
    rates = sorted(kind.features["host_switches_per_s"] for kind in seen.kinds)
    assert rates[1] > 10 * rates[0]


def test_one_after_the_other_nothing_comes_back() -> None:
    seen = course(beats((1.5, COMPUTES), (1.5, WRITES)))
    assert (len(seen.kinds), seen.changes, seen.returns) == (2, 1, 0)


@pytest.mark.parametrize("behaviour", [COMPUTES, WRITES, TALKS])
@pytest.mark.parametrize("seed", range(5))
def test_what_goes_on_in_one_way_has_no_phases(behaviour: Behaviour, seed: int) -> None:
    assert course(beats((6.0, behaviour), seed=seed)).kinds == ()


def test_what_neighbours_take_is_no_phase_of_a_workload_that_waits() -> None:
    """It wants all CPUs all the time; half of the time somebody else has one of them."""
    alone: Behaviour = (2.0, 0.95, 0.0, 400.0)
    crowded: Behaviour = (1.0, 0.98, 0.0, 400.0)
    assert course(beats(*[(0.8, alone), (0.8, crowded)] * 4)).kinds == ()


def test_a_moment_is_an_incident_and_no_phase() -> None:
    assert course(beats((5.0, COMPUTES), (0.1, WRITES), (5.0, COMPUTES))).kinds == ()


def test_a_start_and_an_end_are_no_phases_and_what_is_between_is_active() -> None:
    seen = course(beats((0.6, STILL), (4.0, COMPUTES), (0.6, STILL)))
    assert seen.kinds == ()
    assert seen.active is not None
    assert seen.active.begin_s == pytest.approx(0.6, abs=0.15)
    assert seen.active.end_s == pytest.approx(4.6, abs=0.25)
    assert course(beats((3.0, STILL))).active is None


def test_a_workload_that_stands_still_at_first_is_described_without_that() -> None:
    seen = course(beats((2.0, STILL), (4.0, COMPUTES)))
    within = awake(looks(6.0), seen)
    assert within[0].at_s == pytest.approx(2.0, abs=0.3)
    assert within[-1].at_s == pytest.approx(6.0, abs=0.3)
    # Of little nothing is left out, and where nothing happened all is kept.
    for run in ((0.4, STILL), (5.6, COMPUTES)), ((6.0, STILL),):
        assert len(awake(looks(6.0), course(beats(*run)))) == len(looks(6.0))
    assert awake([], Course()) == []


def test_a_long_run_is_looked_at_more_coarsely() -> None:
    seen = course(beats(*[(10.0, COMPUTES), (10.0, WRITES)] * 3))
    assert [len(kind.stretches) for kind in seen.kinds] == [3, 3]


def test_of_nothing_there_are_no_phases() -> None:
    assert course([]) == course(beats()) == Course()


counts = st.integers(0, 2**50)
anything = st.lists(
    st.builds(
        Beat,
        st.floats(0, 1e6),
        st.builds(host, user_ticks=counts, idle_ticks=counts, switches=counts, running=counts),
        st.none() | st.builds(GroupUsage, counts, counts, counts),
        st.none() | counts,
        st.none() | counts,
    ),
    max_size=30,
)


@given(anything)
def test_whatever_counters_say_shares_are_shares_and_stretches_do_not_overlap(
    given_beats: list[Beat],
) -> None:
    seen = course(sorted(given_beats, key=lambda beat: beat.at_s))
    assert len(seen.kinds) != 1
    assert sum(kind.share for kind in seen.kinds) <= 1 + 1e-9
    ordered = sorted(stretch for kind in seen.kinds for stretch in kind.stretches)
    assert all(a.end_s <= b.begin_s + 1e-9 for a, b in pairwise(ordered))
    for phase in phases_of(seen, []):
        assert phase.workload_class is None
        assert 0 <= phase.features["cpu_used_share"] <= 1


# What is told of them ----------------------------------------------------------------------------


def looks(seconds: float) -> list[Sample]:
    """A hog that runs in every other second."""
    found = []
    for at in range(round(seconds * 5) + 1):
        at_s = at * 0.2
        ran_s = at_s // 2 + min(1.0, at_s % 2)
        there = {
            1: reading(at_s, started_s=-9.0, run_ms=1000 * ran_s, slices=at, switches=(0, at, 0))
        }
        found.append(sample(at_s, there, group=GroupUsage(int(ran_s * 1e6), int(ran_s * 1e6), 0)))
    return found


def test_each_phase_has_features_and_a_class_of_its_own() -> None:
    run = [(1.0, (1.0, 0.0, 0.0, 100.0)), (1.0, (0.0, 0.0, 0.0, 100.0))] * 4
    told = phases_of(course(beats(*run)), looks(8.0))
    by_class = {phase.workload_class: phase for phase in told}
    assert set(by_class) == {"cpu-bound", "idle"}
    assert by_class["cpu-bound"].visits == 4
    assert by_class["cpu-bound"].features["hog_cpu_share"] == pytest.approx(1.0)
    assert by_class["idle"].features["cpu_used_cpus"] < 0.1
    assert by_class["cpu-bound"].mean_s == pytest.approx(1.0, abs=0.2)


def test_a_phase_that_looks_did_not_see_has_no_class() -> None:
    told = phases_of(course(beats(*[(0.3, COMPUTES), (0.3, WRITES)] * 6)), looks(4.0))
    assert [phase.workload_class for phase in told] == [None, None]


def phase(share: float, name: str | None, visits: int = 4) -> Phase:
    features = {
        "cpu_used_cpus": 1.5,
        "host_switches_per_s": 200.0,
        "storage_wait_share": 0.3,
    }
    return Phase(
        share=share, visits=visits, mean_s=0.5, features=features,
        workload_class=name, confidence=0.8,  # type: ignore[arg-type]
    )  # fmt: skip


def test_what_is_so_only_on_average_is_mixed() -> None:
    whole = Classification("latency-under-load", 0.9, {"latency-under-load": 0.9, "mixed": 0.1})
    apart = [phase(0.6, "cpu-bound"), phase(0.4, "messaging")]
    found = agreed(whole, apart)
    assert (found.workload_class, found.confidence) == ("mixed", pytest.approx(0.8))
    # Where one of them is just that it stays, and is as sure as that is often.
    partly = agreed(whole, [phase(0.6, "latency-under-load"), phase(0.4, "messaging")])
    assert partly.workload_class == "latency-under-load"
    assert partly.confidence == pytest.approx(0.9 * 0.6)
    # One after the other, and none of them is that: nothing else is known, but it is not sure.
    once = agreed(whole, [phase(0.6, "cpu-bound"), phase(0.4, "idle", visits=2)])
    assert (once.workload_class, once.confidence) == ("latency-under-load", 0.0)
    # Where nobody could tell, and where there are none, as before.
    for others in [phase(0.6, None), phase(0.4, "idle")], []:
        assert agreed(whole, others) == whole
    batch = Classification("long-tail-batch", 0.9, {"long-tail-batch": 0.9})
    assert agreed(batch, apart) == batch


def test_a_run_with_phases_says_so_in_words() -> None:
    found = dict.fromkeys(NAMES, 1.0) | {"phase_returns_count": 6.0}
    words = summarize(
        found,
        classify(found),
        inventory("here"),
        "training",
        [phase(0.6, "cpu-bound"), phase(0.4, None)],
    )
    assert "It alternated between 2 phases, and came back to one 6 times: 60 % of the time" in words
    assert "storage keeping tasks waiting in 30 %" in words
    assert "(cpu-bound); 40 % of the time" in words
    plainly = summarize(found, classify(found), inventory("here"), "training")
    assert "phase" not in plainly


NAMES = [
    "seconds", "samples_count", "host_busy_share", "cpu_used_share", "runnable_count",
    "wait_mean_ms", "wait_p99_ms", "run_mean_ms", "preemptions_per_s", "migrations_per_s",
    "hog_cpu_share", "hog_count", "hog_run_mean_ms", "sleeper_wakeups_per_s", "sleeper_count",
    "sleeper_cpu_share", "sleeper_run_mean_ms", "sleeper_wait_mean_ms", "sleeper_wait_p99_ms",
    "job_count", "job_cpu_median_s", "job_cpu_max_s", "job_cpu_max_to_median",
    "job_together_share", "host_forks_per_s", "forks_spread_share", "lifetime_median_s",
    "short_cpu_share", "host_iowait_share",
]  # fmt: skip


def test_switches_between_two_readings_grow_as_slices_do() -> None:
    samples = [
        sample(0.0, {1: reading(0.0, slices=0, switches=(0, 0, 0))}),
        sample(1.0, {1: reading(1.0, slices=30)}),
        sample(2.0, {1: reading(2.0, slices=100, switches=(80, 20, 10))}),
        sample(3.0, {1: reading(3.0, slices=150)}),
    ]
    filled = interpolated(samples)
    assert filled[1].readings[1].details == Details(0, 24, 6, 3)
    assert filled[3].readings[1].details is None
    assert [s.readings[1].slices for s in filled] == [0, 30, 100, 150]
