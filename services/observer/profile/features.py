"""Turns samples into features: floats whose names carry their unit.

Every feature is explained in docs/profiling.md, in one table. A feature that this kernel
cannot tell (no PSI, no /proc/schedstat, no cgroup) is left out, never made up.

A workload's totals are sums over its tasks. Tasks that came and went between two looks are
not in them; `cpu_unseen_share` says how much CPU time they took, where a cgroup counts it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from services.observer.profile.tasks import Task, follow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.observer.profile.sampler import BusyTicks, Sample

_SHORT_LIFE_SHARE: Final = 0.35
_SHORT_LIFE_MOST_S: Final = 10.0
"""Short-lived: began and ended within this share of the time observed, and this time."""

_HOG_RUNNABLE_SHARE: Final = 0.3
_HOG_VOLUNTARY_SHARE: Final = 0.5
_HOG_WAKEUPS_PER_S: Final = 10.0
_HOG_RUN_S: Final = 0.020
"""A hog wants a CPU for this share of its time at least, is preempted more often than it
sleeps, and sleeps less often than this, or computes at least this long in between."""

_SLEEPER_WAKEUPS_PER_S: Final = 2.0
"""A sleeper is no hog, and wakes at least this often."""

_JOB_CPU_S: Final = 0.002
"""A job is a hog of any lifetime that used at least this much: more than to fail at once."""

_TOGETHER_SHARE: Final = 0.2
"""What begins within this share of the time observed has begun together."""

_PARTS: Final = 10
_MOST_FORKS_SHARE: Final = 0.8
"""Forks are spread over as many tenths of the time as it takes to find this share of them."""


def features(samples: Sequence[Sample], before: BusyTicks, after: BusyTicks) -> dict[str, float]:
    """Features over all the time sampled. Raises ValueError from less than two samples.

    `before` and `after` are CPU times just outside of it.
    """
    if len(samples) < 2 or samples[-1].at_s <= samples[0].at_s:
        raise ValueError("features need two samples, the second after the first")
    tasks = follow(samples)
    found = {
        **_scale(samples, tasks),
        **_host(samples),
        **_kernel_threads(before, after),
        **_pressure(samples),
        **_totals(samples, tasks),
        **_churn(samples, tasks),
        **_mix(samples, tasks),
        **_jobs(samples, tasks),
    }
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _seconds(samples: Sequence[Sample]) -> float:
    return samples[-1].at_s - samples[0].at_s


def _scale(samples: Sequence[Sample], tasks: list[Task]) -> dict[str, float]:
    seconds = _seconds(samples)
    return {
        "seconds": seconds,
        "samples_count": len(samples),
        "blind_share": max(b.at_s - a.at_s for a, b in pairwise(samples)) / seconds,
        "cpus_count": max(1, samples[-1].host.cpus),
        "tasks_seen_count": len(tasks),
        "tasks_mean_count": _mean_present(samples),
    }


def _mean_present(samples: Sequence[Sample]) -> float:
    """Tasks there at a time, weighted with the time since the look before."""
    present = sum(
        len(after.present) * (after.at_s - before.at_s) for before, after in pairwise(samples)
    )
    return present / _seconds(samples)


def _host(samples: Sequence[Sample]) -> dict[str, float]:
    """All of the host: what it ran, and what waited, the workload included."""
    first, last = samples[0], samples[-1]
    seconds = _seconds(samples)
    cpus = max(1, last.host.cpus)

    def used(name: str) -> int:
        return max(0, int(getattr(last.host, name)) - int(getattr(first.host, name)))

    idle = used("idle_ticks")
    iowait = used("iowait_ticks")
    steal = used("steal_ticks")
    system = used("system_ticks")
    total = idle + iowait + steal + system + used("user_ticks")
    found = {
        "host_busy_share": _ratio(total - idle - iowait, total),
        "host_idle_share": _ratio(idle, total),
        "host_iowait_share": _ratio(iowait, total),
        "host_steal_share": _ratio(steal, total),
        "host_system_share": _ratio(system, total),
        "host_switches_per_s": used("switches") / seconds,
        "host_forks_per_s": used("forks") / seconds,
        # The look itself is the one that always runs.
        "host_runnable_per_cpu": _mean(max(0, s.host.running - 1) for s in samples) / cpus,
        "host_blocked_count": _mean(s.host.blocked for s in samples),
    }
    if first.sched is not None and last.sched is not None:
        waited = max(0, last.sched.wait_ns - first.sched.wait_ns)
        slices = max(0, last.sched.slices - first.sched.slices)
        run = max(0, last.sched.run_ns - first.sched.run_ns)
        found["host_wait_mean_ms"] = _ratio(waited / 1e6, slices)
        found["host_run_mean_ms"] = _ratio(run / 1e6, slices)
    return found


def _kernel_threads(before: BusyTicks, after: BusyTicks) -> dict[str, float]:
    """Kernel threads that came or went in between can make this a little off; never over 1."""
    used = max(0, after.kernel_threads - before.kernel_threads)
    return {"kernel_thread_share": min(1.0, _ratio(used, after.host - before.host))}


def _pressure(samples: Sequence[Sample]) -> dict[str, float]:
    """Shares of the time in which somebody was stalled."""
    found: dict[str, float] = {}
    for name in ("cpu", "io", "memory"):
        told = [(s.at_s, s.pressure_us[name]) for s in samples if name in s.pressure_us]
        if len(told) >= 2 and told[-1][0] > told[0][0]:
            stalled_s = max(0, told[-1][1] - told[0][1]) / 1e6
            share = min(1.0, stalled_s / (told[-1][0] - told[0][0]))
            found[f"psi_{name}_share"] = share
    return found


def _totals(samples: Sequence[Sample], tasks: list[Task]) -> dict[str, float]:
    """The workload's tasks together."""
    seconds = _seconds(samples)
    cpus = max(1, samples[-1].host.cpus)
    run_s = _run_s(tasks)
    wait_s = math.fsum(task.wait_s for task in tasks)
    slices = sum(task.slices for task in tasks)
    used_s = max(run_s, _group_s(samples))
    waits = [(s.wait_ns / s.slices / 1e6, s.slices) for task in tasks for s in task.spans]
    found: dict[str, float] = {}
    groups = [s.group for s in samples if s.group is not None]
    if groups:
        user_us = max(0, groups[-1].user_us - groups[0].user_us)
        system_us = max(0, groups[-1].system_us - groups[0].system_us)
        found["cpu_user_share"] = _ratio(user_us, user_us + system_us)
    wakeups = math.fsum(task.wakeups for task in tasks)
    preemptions = math.fsum(task.preemptions for task in tasks)
    return found | {
        "cpu_used_cpus": used_s / seconds,
        "cpu_used_share": min(1.0, used_s / seconds / cpus),
        "cpu_unseen_share": _ratio(used_s - run_s, used_s),
        "runnable_count": (run_s + wait_s) / seconds,
        "waiting_per_cpu": wait_s / seconds / cpus,
        "run_mean_ms": _ratio(sum(task.run_ns for task in tasks) / 1e6, slices),
        "wait_mean_ms": _ratio(sum(task.wait_ns for task in tasks) / 1e6, slices),
        "wait_p99_ms": _quantile(waits, 0.99),
        "wakeups_per_s": wakeups / seconds,
        "preemptions_per_s": preemptions / seconds,
        "migrations_per_s": math.fsum(task.moves for task in tasks) / seconds,
        "voluntary_share": _ratio(wakeups, wakeups + preemptions),
    }


def _run_s(tasks: Iterable[Task]) -> float:
    """CPU time of these tasks."""
    return math.fsum(task.run_s for task in tasks)


def _group_s(samples: Sequence[Sample]) -> float:
    """CPU time that the workload's cgroup counted; 0 without one."""
    groups = [s.group for s in samples if s.group is not None]
    return max(0, groups[-1].usage_us - groups[0].usage_us) / 1e6 if groups else 0.0


def _churn(samples: Sequence[Sample], tasks: list[Task]) -> dict[str, float]:
    """How processes come and go. Forks are the host's: nobody else counts the unseen ones."""
    seconds = _seconds(samples)
    first, last = samples[0], samples[-1]
    forks = max(0, last.host.forks - first.host.forks)
    unseen = _unseen_forks(samples, tasks)
    # A process nobody saw lived for less than the time between two looks: half of it, say.
    lifetimes = [(task.lived_s, 1) for task in tasks if task.ended and task.born]
    if unseen:
        lifetimes.append((seconds / (len(samples) - 1) / 2, unseen))
    gone = max(0, forks - (len(last.present) - len(first.present)))
    return {
        "forks_spread_share": _spread([(s.at_s, s.host.forks) for s in samples]),
        "exits_per_s": gone / seconds,
        "unseen_forks_per_s": unseen / seconds,
        "lifetime_median_s": _quantile(lifetimes, 0.5),
    }


def _unseen_forks(samples: Sequence[Sample], tasks: list[Task]) -> int:
    """Forks of tasks that no look found there, of the workload or of others."""
    there = frozenset[int]().union(*(sample.present for sample in samples))
    never_read = there - samples[0].present - {task.tid for task in tasks}
    forks = samples[-1].host.forks - samples[0].host.forks
    return max(0, forks - sum(task.born for task in tasks) - len(never_read))


def _spread(counted: list[tuple[float, int]]) -> float:
    """Share of the time that most of the counting took: little for a burst, 0.8 if steady."""
    begin_s, end_s = counted[0][0], counted[-1][0]
    parts = [0.0] * _PARTS
    for (before_s, before), (after_s, after) in pairwise(counted):
        for part in range(_PARTS):
            low_s = begin_s + (end_s - begin_s) * part / _PARTS
            high_s = begin_s + (end_s - begin_s) * (part + 1) / _PARTS
            overlap_s = min(after_s, high_s) - max(before_s, low_s)
            if overlap_s > 0:
                parts[part] += max(0, after - before) * overlap_s / (after_s - before_s)
    left = _MOST_FORKS_SHARE * math.fsum(parts)
    needed = 0.0
    for count in sorted(parts, reverse=True):
        if left <= 0 or count <= 0:
            break
        needed += min(1.0, left / count)
        left -= count
    return needed / _PARTS


def _mix(samples: Sequence[Sample], tasks: list[Task]) -> dict[str, float]:
    """Hogs, sleepers and short-lived tasks, and their shares of the CPU time accounted for."""
    seconds = _seconds(samples)
    unseen_s = _short_unseen_s(samples, tasks)
    known_s = _run_s(tasks) + unseen_s
    short = [task for task in tasks if _is_short(task, seconds)]
    lasting = [task for task in tasks if not _is_short(task, seconds)]
    hogs = [task for task in lasting if _is_hog(task)]
    sleepers = [
        task
        for task in lasting
        if not _is_hog(task) and task.wakeups_per_s >= _SLEEPER_WAKEUPS_PER_S
    ]
    found: dict[str, float] = {"short_seen_count": len(short)}
    for name, group in (("hog", hogs), ("sleeper", sleepers), ("short", short)):
        slices = sum(task.slices for task in group)
        waits = [(s.wait_ns / s.slices / 1e6, s.slices) for task in group for s in task.spans]
        found[f"{name}_count"] = math.fsum(task.lived_s for task in group) / seconds
        found[f"{name}_cpu_share"] = _ratio(_run_s(group), known_s)
        found[f"{name}_run_mean_ms"] = _ratio(sum(t.run_ns for t in group) / 1e6, slices)
        found[f"{name}_wait_mean_ms"] = _ratio(sum(t.wait_ns for t in group) / 1e6, slices)
        found[f"{name}_wait_p99_ms"] = _quantile(waits, 0.99)
    found["short_cpu_share"] += _ratio(unseen_s, known_s)
    found["sleeper_wakeups_per_s"] = math.fsum(task.wakeups for task in sleepers) / seconds
    return found


def _short_unseen_s(samples: Sequence[Sample], tasks: list[Task]) -> float:
    """CPU time of tasks too short for any look to find them.

    That is what the cgroup counted and nobody else can have used: no task between its last
    reading and its end, none that was there and never had its turn (taken to be like those
    that had). And each such task lived for less than the longest time between two looks.
    """
    run_s = _run_s(tasks)
    read = {task.tid for task in tasks}
    never_read_s = math.fsum(
        len(after.present - read) * (after.at_s - before.at_s)
        for before, after in pairwise(samples)
    )
    usual = _ratio(run_s, math.fsum(task.lived_s for task in tasks))
    left_s = max(run_s, _group_s(samples)) - run_s
    left_s -= math.fsum(task.unsure_run_s for task in tasks) + never_read_s * usual
    longest_s = max(after.at_s - before.at_s for before, after in pairwise(samples))
    return max(0.0, min(left_s, _unseen_forks(samples, tasks) * longest_s))


def _is_short(task: Task, seconds: float) -> bool:
    most_s = min(_SHORT_LIFE_MOST_S, _SHORT_LIFE_SHARE * seconds)
    return task.born and task.ended and task.lived_s <= most_s


def _is_hog(task: Task) -> bool:
    return (
        task.runnable_share >= _HOG_RUNNABLE_SHARE
        and task.voluntary_share <= _HOG_VOLUNTARY_SHARE
        and (task.wakeups_per_s <= _HOG_WAKEUPS_PER_S or task.run_per_wakeup_s >= _HOG_RUN_S)
    )


def _jobs(samples: Sequence[Sample], tasks: list[Task]) -> dict[str, float]:
    """Tasks that compute, each taken as one job: how many, how long, and how unequal."""
    jobs = [task for task in tasks if task.run_s >= _JOB_CPU_S and _is_hog(task)]
    times = [task.run_s for task in jobs]
    begins = sorted(task.begin_s for task in jobs)
    together_s = _TOGETHER_SHARE * _seconds(samples)
    return {
        "job_count": len(jobs),
        "job_cpu_median_s": median(times) if times else 0.0,
        "job_cpu_max_s": max(times, default=0.0),
        "job_cpu_max_to_median": _ratio(max(times), median(times)) if times else 0.0,
        "job_together_share": _ratio(_most_within(begins, together_s), len(jobs)),
    }


def _most_within(times: list[float], length: float) -> int:
    """How many of these ascending times lie within one stretch of this length, at most."""
    return max((bisect_right(times, t + length) - i for i, t in enumerate(times)), default=0)


def _ratio(part: float, whole: float) -> float:
    """A share or mean; 0 of nothing is 0."""
    return part / whole if whole > 0 else 0.0


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else 0.0


def _quantile(weighted: list[tuple[float, int]], q: float) -> float:
    """The least value that at least a share `q` of the weight does not exceed; 0 of nothing."""
    left = q * sum(weight for _, weight in weighted)
    for value, weight in sorted(weighted):
        left -= weight
        if left <= 0:
            return value
    return 0.0
