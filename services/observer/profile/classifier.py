"""Names what the features show.

Each class has conditions over features, each met to a degree between 0 and 1. A class
scores as well as its weakest condition; `mixed` scores what the best of them lacks. The
confidence is the margin between the best score and the second: 1 when one class is met in
full and no other at all, 0 when two are met alike. It fades where most of the time passed
between two looks: what was not seen could have been anything.

Thresholds hold for native and for emulated hosts, so they are shares and ratios wherever
that says enough, and wide ramps where it does not. They are checked against recorded
profiles of the catalogue's workloads in tests/observer/fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.classes import WorkloadClass


class Classification(NamedTuple):
    """The class, how sure it is (0 to 1), and how well each class scored."""

    workload_class: WorkloadClass
    confidence: float
    scores: dict[WorkloadClass, float]


def classify(features: Mapping[str, float]) -> Classification:
    """The class of these features; features that are not there count as 0."""
    scores = {name: min(conditions.values()) for name, conditions in conditions(features).items()}
    scores["mixed"] = 1.0 - max(scores.values())
    best, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    seen = 1.0 - min(1.0, max(0.0, (features.get("blind_share", 0.0) - 0.4) / (0.8 - 0.4)))
    return Classification(best, (scores[best] - scores[second]) * seen, scores)


def conditions(features: Mapping[str, float]) -> dict[WorkloadClass, dict[str, float]]:
    """Of every class but `mixed`, each condition and the degree to which it is met."""

    def rises(name: str, low: float, high: float, per: float = 1.0) -> float:
        value = features.get(name, 0.0) / per
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def falls(name: str, low: float, high: float, per: float = 1.0) -> float:
        return 1.0 - rises(name, low, high, per)

    cpus = max(1.0, features.get("cpus_count", 1.0))
    contended = max(rises("waiting_per_cpu", 0.1, 0.5), rises("host_runnable_per_cpu", 1.0, 2.0))
    # One light neighbour that wakes often does not make a batch a service: there must be
    # work in it, or about as many sleepers as hogs.
    hogs = max(1.0, features.get("hog_count", 0.0))
    wakes = min(
        rises("sleeper_wakeups_per_s", 20, 100),
        max(rises("sleeper_cpu_share", 0.06, 0.14), rises("sleeper_count", 0.5, 1.0, per=hogs)),
    )
    storage = max(rises("host_iowait_share", 0.1, 0.3), rises("psi_io_share", 0.05, 0.2))
    churn = min(
        rises("host_forks_per_s", 0.5, 2),
        rises("forks_spread_share", 0.3, 0.5),
        rises("short_cpu_share", 0.15, 0.4),
    )
    unequal = rises("job_cpu_max_to_median", 2, 4)
    crowded = rises("job_count", 1.5, 4, per=cpus)
    steady = 1.0 - churn
    return {
        "latency-under-load": {
            "tasks wake often and work": wakes,
            "hogs take much of the CPU": rises("hog_cpu_share", 0.15, 0.4),
            "CPUs are contended": contended,
            "processes stay": steady,
        },
        "long-tail-batch": {
            "many jobs": crowded,
            "some far longer": unequal,
            "started together": rises("job_together_share", 0.5, 0.8),
            "CPUs are contended": contended,
            "processes stay": steady,
            "nobody else wakes often": 1.0 - wakes,
        },
        "short-process-churn": {
            "short ones come all the time": churn,
            "they use the CPU": rises("cpu_used_cpus", 0.1, 0.3),
        },
        "messaging": {
            "very many wake-ups": rises("sleeper_wakeups_per_s", 50, 200, per=cpus),
            "short runs": falls("sleeper_run_mean_ms", 2, 6),
            "sleepers do the work": rises("sleeper_cpu_share", 0.5, 0.8),
            "no hogs": falls("hog_cpu_share", 0.15, 0.4),
            "nothing waits for storage": 1.0 - storage,
            "processes stay": steady,
        },
        "cpu-bound": {
            "hogs do the work": rises("hog_cpu_share", 0.4, 0.7),
            "they want it": rises("runnable_count", 0.3, 0.8),
            "nobody else wakes often": 1.0 - wakes,
            "no long tail": 1.0 - min(unequal, crowded),
            "processes stay": steady,
        },
        "io-bound": {
            "storage stalls": storage,
            "CPUs are not": falls("cpu_used_share", 0.5, 0.9),
        },
        "idle": {
            "next to nothing wants a CPU": falls("runnable_count", 0.1, 0.4),
            "next to nothing ran unseen": falls("cpu_used_cpus", 0.1, 0.4),
            "nothing waits for storage": 1.0 - storage,
        },
    }
