"""The run queue before any candidate, from the profile, and with one, from the frame's counters.

The two are counted by different hands: the profile by the kernel's schedstat while the workload
ran under what its host had, the counters by the frame over the candidate's side of each pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from cli.explaining.model import Counted, Queue, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.explaining.known import Known
    from cli.report.model import TrialReport

_Who = Literal["all tasks", "hogs", "sleepers", "short-lived"]

GROUPS: Final[Mapping[_Who, tuple[str, str]]] = {
    # Who: the prefix of their features, and the feature that counts them.
    "all tasks": ("", "tasks_mean_count"),
    "hogs": ("hog_", "hog_count"),
    "sleepers": ("sleeper_", "sleeper_count"),
    "short-lived": ("short_", "short_count"),
}

HOST: Final = (
    "host_wait_mean_ms",
    "host_run_mean_ms",
    "host_runnable_per_cpu",
    "waiting_per_cpu",
    "psi_cpu_share",
    "psi_io_share",
    "psi_memory_share",
    "host_iowait_share",
    "host_busy_share",
    "preemptions_per_s",
    "migrations_per_s",
    "wakeups_per_s",
)
"""Features of the profile that say how full the host was and what its tasks stalled on
(docs/profiling.md)."""

COUNTERS: Final[Mapping[str, str]] = {
    # bpf/include/cox/abi.h
    "runs": "times a task got a CPU after waiting",
    "direct": "put straight onto an idle CPU",
    "enqueue_shared": "queued for all CPUs of an LLC",
    "enqueue_cpu": "queued for one CPU",
    "dispatch_shared": "taken from the shared queue",
    "dispatch_cpu": "taken from the CPU's own queue",
    "steals": "taken from another CPU's or LLC's queue",
    "keeps": "slices renewed without leaving the CPU",
    "preemptions": "a waking task took a CPU from another",
    "preempt_too_soon": "preemptions not allowed: too close to the last one",
    "preempt_outranked": "preemptions not allowed: the running task was due first",
    "rank_clamped": "a hook's rank was outside the frame's window",
    "slice_clamped": "a hook's slice was outside the frame's limits",
    "yields": "a task gave its CPU up",
    "groups_untracked": "cgroups whose weight was not honoured",
    "stateless": "tasks scheduled plainly, without state",
}
"""What the frame's counters count; waits are told apart from them."""


def queue(known: Known) -> Queue:
    """Both sides, as far as they were measured."""
    profile = known.record.profile
    features = profile.features if profile is not None else {}
    trial = known.decisive
    return Queue(
        waited=_waited(features),
        host={name: features[name] for name in HOST if name in features},
        counted=counted(trial) if trial is not None else None,
    )


def _waited(features: Mapping[str, float]) -> list[Waiting]:
    """Kinds of tasks that were there; a kind without a feature on waits is not listed."""
    found = []
    for who, (prefix, count) in GROUPS.items():
        waits = [features.get(f"{prefix}wait_{which}_ms") for which in ("mean", "p99")]
        if waits == [None, None] or features.get(count) == 0:
            continue
        found.append(
            Waiting(
                who=who,
                count=features.get(count),
                run_mean_ms=features.get(f"{prefix}run_mean_ms"),
                wait_mean_ms=waits[0],
                wait_p99_ms=waits[1],
            )
        )
    return found


def counted(trial: TrialReport) -> Counted | None:
    """A trial's counters over all its pairs; None where no pair has any."""
    sides = [each.counters for each in trial.rounds if each.counters]
    if not sides:
        return None
    total = added_up(sides)
    longest_ns = total.get("wait_max_ns")
    return Counted(
        trial=trial.trial,
        runs_of_workload=len(sides),
        counters=total,
        wait_mean_ms=mean_wait_ms(total),
        wait_longest_ms=longest_ns / 1e6 if longest_ns is not None else None,
    )


def added_up(sides: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counters of several looks; of the largest values the largest."""
    total: dict[str, int] = {}
    for side in sides:
        for name, value in side.items():
            before = total.get(name, 0)
            total[name] = max(before, value) if name.endswith("_max_ns") else before + value
    return total


def mean_wait_ms(counters: Mapping[str, int]) -> float | None:
    """From runnable to a CPU, over all tasks; None where nothing was counted."""
    runs, wait_ns = counters.get("runs", 0), counters.get("wait_ns")
    return wait_ns / runs / 1e6 if runs > 0 and wait_ns is not None else None
