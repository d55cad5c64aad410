"""Features from samples with known answers, and from anything at all."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.observer.profile.features import features
from services.observer.profile.procfs import HostStat, SchedStat
from services.observer.profile.sampler import BusyTicks, Details, GroupUsage, Reading, Sample
from tests.observer.synthetic import NOTHING, host, reading, sample


def seen(*samples: Sample) -> dict[str, float]:
    return features(samples, NOTHING, NOTHING)


def test_the_hosts_shares_and_rates() -> None:
    found = seen(
        sample(100.0, stat=host(user_ticks=50, switches=1000, forks=10, running=3)),
        sample(
            110.0,
            stat=host(
                user_ticks=50 + 600,
                system_ticks=400,
                idle_ticks=700,
                iowait_ticks=200,
                steal_ticks=100,
                switches=6000,
                forks=30,
                running=5,
                blocked=1,
            ),
        ),
    )
    assert found["seconds"] == 10.0
    assert found["host_busy_share"] == pytest.approx(0.55)
    assert found["host_idle_share"] == pytest.approx(0.35)
    assert found["host_iowait_share"] == pytest.approx(0.1)
    assert found["host_steal_share"] == pytest.approx(0.05)
    assert found["host_system_share"] == pytest.approx(0.2)
    assert found["host_switches_per_s"] == pytest.approx(500)
    assert found["host_forks_per_s"] == pytest.approx(2)
    assert found["host_runnable_per_cpu"] == pytest.approx((2 + 4) / 2 / 2)
    assert found["host_blocked_count"] == pytest.approx(0.5)


def test_kernel_threads_share_of_the_busy_time() -> None:
    samples = (sample(0.0), sample(1.0))
    found = features(samples, BusyTicks(1000, 10), BusyTicks(1200, 60))
    assert found["kernel_thread_share"] == pytest.approx(0.25)


def test_stalls_and_waits_of_the_host_where_the_kernel_tells_them() -> None:
    found = seen(
        sample(0.0, pressure_us={"cpu": 5, "io": 7}, sched=SchedStat(0, 0, 0)),
        sample(1.0),
        sample(
            2.0,
            pressure_us={"cpu": 1_000_005, "io": 7},
            sched=SchedStat(run_ns=40_000_000, wait_ns=10_000_000, slices=20),
        ),
    )
    assert found["psi_cpu_share"] == pytest.approx(0.5)
    assert found["psi_io_share"] == 0.0
    assert "psi_memory_share" not in found
    assert found["host_wait_mean_ms"] == pytest.approx(0.5)
    assert found["host_run_mean_ms"] == pytest.approx(2.0)


def test_a_tasks_waits_and_runs_are_means_over_its_slices() -> None:
    found = seen(
        sample(100.0, {1: reading(100.0, run_ms=10, wait_ms=1, slices=5, switches=(5, 0, 0))}),
        sample(
            102.0, {1: reading(102.0, run_ms=110, wait_ms=401, slices=105, switches=(65, 40, 10))}
        ),
    )
    assert found["run_mean_ms"] == pytest.approx(1.0)
    assert found["wait_mean_ms"] == pytest.approx(4.0)
    assert found["wait_p99_ms"] == pytest.approx(4.0)
    assert found["cpu_used_cpus"] == pytest.approx(0.05)
    assert found["runnable_count"] == pytest.approx((0.1 + 0.4) / 2)
    assert found["waiting_per_cpu"] == pytest.approx(0.1)
    assert found["wakeups_per_s"] == pytest.approx(60 / 2)
    assert found["preemptions_per_s"] == pytest.approx(40 / 2)
    assert found["migrations_per_s"] == pytest.approx(10 / 2)
    assert found["voluntary_share"] == pytest.approx(0.6)


def test_the_p99_of_waits_is_weighted_with_slices() -> None:
    samples = [
        sample(float(look), {1: reading(float(look), wait_ms=look * 98, slices=look * 98)})
        for look in range(3)
    ]
    assert seen(*samples)["wait_p99_ms"] == pytest.approx(1.0)
    late = sample(3.0, {1: reading(3.0, wait_ms=2 * 98 + 500, slices=2 * 98 + 5)})
    assert seen(*samples, late)["wait_p99_ms"] == pytest.approx(100.0)


def test_cpu_shares_of_hogs_and_sleepers() -> None:
    began = {pid: reading(100.0) for pid in (1, 2)}
    ended = {
        1: reading(110.0, run_ms=6000, wait_ms=3000, slices=600, switches=(10, 590, 0)),
        2: reading(110.0, run_ms=2000, wait_ms=500, slices=4000, switches=(4000, 0, 0)),
    }
    started = {pid: r._replace(details=Details(0, 0, 0, 0)) for pid, r in began.items()}
    found = seen(sample(100.0, started), sample(110.0, ended))
    assert found["hog_count"] == pytest.approx(1.0)
    assert found["hog_cpu_share"] == pytest.approx(0.75)
    assert found["hog_run_mean_ms"] == pytest.approx(10.0)
    assert found["hog_wait_mean_ms"] == pytest.approx(5.0)
    assert found["sleeper_cpu_share"] == pytest.approx(0.25)
    assert found["sleeper_wakeups_per_s"] == pytest.approx(400.0)
    assert found["sleeper_run_mean_ms"] == pytest.approx(0.5)
    assert found["short_cpu_share"] == 0.0


def test_a_task_without_switches_is_a_hog_if_it_ran() -> None:
    found = seen(
        sample(0.0, {1: reading(0.0, switches=(0, 0, 0))}),
        sample(4.0, {1: reading(4.0, run_ms=4000, slices=1, switches=(0, 0, 0))}),
    )
    assert found["hog_cpu_share"] == pytest.approx(1.0)


def test_a_batch_with_a_long_tail_shows_in_its_jobs() -> None:
    """Nine jobs of a quarter of a second, and one of ten times that, all started at once."""
    samples = [sample(100.0)]
    for look in range(1, 51):
        at_s = 100.0 + look * 0.2
        there = {
            pid: reading(
                at_s,
                started_s=100.1,
                run_ms=50.0 * look,
                wait_ms=100.0 * look,
                slices=look,
                switches=(0, look, 0),
            )
            for pid in range(10)
            if look <= 5 or not pid
        }
        samples.append(sample(at_s, there, stat=host(forks=10)))
    samples.append(sample(110.2, stat=host(forks=10)))
    found = seen(*samples)
    assert found["job_count"] == 10
    assert found["job_together_share"] == 1.0
    assert found["job_cpu_max_to_median"] == pytest.approx(10, rel=0.15)
    assert found["forks_spread_share"] < 0.1


def test_processes_that_nobody_saw_count_by_their_forks_and_cpu_time() -> None:
    samples = [
        sample(
            look * 0.2,
            {1: reading(look * 0.2, started_s=-1.0, run_ms=look, slices=look)},
            stat=host(forks=20 * look),
            group=GroupUsage(look * 100_000, look * 60_000, look * 40_000),
        )
        for look in range(11)
    ]
    found = seen(*samples)
    assert found["host_forks_per_s"] == pytest.approx(100)
    assert found["unseen_forks_per_s"] == pytest.approx(100)
    assert found["exits_per_s"] == pytest.approx(100)
    assert found["forks_spread_share"] == pytest.approx(0.8)
    assert found["lifetime_median_s"] == pytest.approx(0.1)
    assert found["cpu_used_cpus"] == pytest.approx(0.5)
    assert found["cpu_unseen_share"] == pytest.approx(0.99)
    assert found["short_cpu_share"] == pytest.approx(0.99)
    assert found["cpu_user_share"] == pytest.approx(0.6)


def test_tasks_that_never_had_their_turn_are_taken_to_be_like_the_others() -> None:
    """Ten hogs of which one was read: the others are no short-lived tasks."""
    everybody = set(range(10))
    samples = [
        sample(
            float(look),
            {1: reading(float(look), started_s=-1.0, run_ms=200 * look, slices=look)},
            present=everybody,
            group=GroupUsage(2_000_000 * look, 2_000_000 * look, 0),
        )
        for look in range(5)
    ]
    found = seen(*samples)
    assert found["cpu_unseen_share"] == pytest.approx(0.9)
    assert found["short_cpu_share"] == 0.0
    assert found["unseen_forks_per_s"] == 0.0


def test_forks_in_one_burst_take_little_of_the_time_wherever_it_is() -> None:
    for burst in (2, 25, 47):
        samples = [
            sample(look * 0.2, stat=host(forks=40 if look > burst else 0)) for look in range(51)
        ]
        assert seen(*samples)["forks_spread_share"] <= 0.1


def test_a_task_that_was_read_late_stands_for_all_its_life() -> None:
    """It lived for 4 s, and its last reading is from the middle of it."""
    there = {1}
    found = seen(
        sample(0.0, present=there),
        sample(2.0, {1: reading(2.0, started_s=0.0, run_ms=1000, slices=2)}),
        sample(4.0, present=there),
    )
    assert found["cpu_used_cpus"] == pytest.approx(0.5)


def test_an_id_that_comes_back_is_another_task() -> None:
    found = seen(
        sample(0.0, {1: reading(0.0, started_s=-5.0, run_ms=9000)}),
        sample(1.0, {1: reading(1.0, started_s=0.5, run_ms=250)}),
        sample(2.0, {1: reading(2.0, started_s=0.5, run_ms=750)}),
    )
    assert found["tasks_seen_count"] == 2
    assert found["job_cpu_max_s"] == pytest.approx(0.75)


def test_where_migrations_are_not_counted_a_change_of_cpu_counts() -> None:
    moves = [0, 1, 1, 0]
    samples = [
        sample(
            float(look),
            {1: reading(float(look), slices=look, switches=(look, 0, -1), cpu=cpu)},
        )
        for look, cpu in enumerate(moves)
    ]
    assert seen(*samples)["migrations_per_s"] == pytest.approx(2 / 3)


def test_one_sample_is_too_few() -> None:
    with pytest.raises(ValueError, match="two samples"):
        seen(sample(1.0))
    with pytest.raises(ValueError, match="two samples"):
        seen(sample(1.0), sample(1.0))


counts = st.integers(0, 2**62)
details = st.builds(Details, st.integers(0, 64), counts, counts, st.integers(-1, 2**40))
readings = st.builds(
    Reading,
    st.floats(0, 1e7),
    st.floats(0, 1e7),
    counts,
    counts,
    counts,
    st.none() | details,
)
tids = st.integers(1, 8)
samples = st.builds(
    Sample,
    st.floats(0, 1e7),
    st.builds(HostStat, *[counts] * 5, st.integers(0, 512), *[counts] * 4),
    st.frozensets(tids),
    st.dictionaries(tids, readings, max_size=8),
    st.dictionaries(st.sampled_from(["cpu", "io", "memory"]), counts),
    st.none() | st.builds(SchedStat, counts, counts, counts),
    st.none() | st.builds(GroupUsage, counts, counts, counts),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(samples, min_size=2, max_size=6), st.builds(BusyTicks, counts, counts))
def test_features_are_finite_and_shares_are_shares(looks: list[Sample], ticks: BusyTicks) -> None:
    """Counters that jump about, tasks that vanish between list and reading, ids that come back."""
    looks.sort(key=lambda look: look.at_s)
    if looks[0].at_s == looks[-1].at_s:
        return
    found = features(looks, NOTHING, ticks)
    assert all(math.isfinite(value) for value in found.values())
    shares = [value for name, value in found.items() if name.endswith("_share")]
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)


def test_every_feature_is_explained() -> None:
    manual = (Path(__file__).parents[2] / "docs/profiling.md").read_text()
    found = seen(
        sample(0.0, {1: reading(0.0)}, sched=SchedStat(0, 0, 0), group=GroupUsage(0, 0, 0)),
        sample(1.0, {1: reading(1.0)}, sched=SchedStat(1, 1, 1), group=GroupUsage(1, 1, 0)),
    )
    for name in found:
        prefix, _, rest = name.partition("_")
        grouped = prefix in {"hog", "sleeper", "short"} and f"`_{rest}`" in manual
        assert grouped or f"`{name}`" in manual, name
