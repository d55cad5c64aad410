"""Ways to classify. Each is made from profiles that it may see, and then asked of others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Final

from bench.classifying.recorded import Recorded
from services.observer.profile.classifier import classify
from shared.classes import WorkloadClass

Classify = Callable[[Mapping[str, float]], tuple[WorkloadClass, float]]
"""From features to a class, and how sure that is, 0 to 1."""
Way = Callable[[Sequence[Recorded]], Classify]
"""Made from the profiles that it may see."""

SHARES: Final = (
    "cpu_used_share",
    "hog_cpu_share",
    "sleeper_cpu_share",
    "short_cpu_share",
    "forks_spread_share",
    "job_together_share",
    "voluntary_share",
    "host_iowait_share",
    "psi_io_share",
)
PER_CPU: Final = (
    "runnable_count",
    "hog_count",
    "sleeper_count",
    "job_count",
    "sleeper_wakeups_per_s",
    "preemptions_per_s",
)
LOGS: Final = (
    "waiting_per_cpu",
    "host_runnable_per_cpu",
    "host_forks_per_s",
    "job_cpu_max_to_median",
    "run_mean_ms",
    "sleeper_run_mean_ms",
)
"""Numbers that mean the same on hosts of every size and speed, as far as there are such."""


SUREST: Final = 0.75


def vector(features: Mapping[str, float]) -> list[float]:
    """What profiles are compared by: shares as they are, counts for each CPU, rates in logs."""
    cpus = max(1.0, features.get("cpus_count", 1.0))
    return [
        *(features.get(name, 0.0) for name in SHARES),
        *(math.log1p(features.get(name, 0.0) / cpus) for name in PER_CPU),
        *(math.log1p(features.get(name, 0.0)) for name in LOGS),
    ]


def rules(_seen: Sequence[Recorded]) -> Classify:
    """The conditions of services/observer/profile/classifier.py, which learn nothing."""

    def ask(features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
        found = classify(features)
        return found.workload_class, found.confidence

    return ask


def nearest(seen: Sequence[Recorded]) -> Classify:
    """The class whose mean is nearest, each feature by its deviation.

    Each workload counts once, however often it was recorded. Sure by how much farther the second
    class is.
    """
    by_workload: dict[tuple[WorkloadClass, str], list[list[float]]] = defaultdict(list)
    for each in seen:
        by_workload[each.expected, each.workload].append(vector(each.features))
    of_workloads = {key: _mean(rows) for key, rows in by_workload.items()}
    columns = list(zip(*of_workloads.values(), strict=True))
    centres = [fmean(column) for column in columns]
    scales = [pstdev(column) or 1.0 for column in columns]

    def standard(row: Sequence[float]) -> list[float]:
        return [(v - c) / s for v, c, s in zip(row, centres, scales, strict=True)]

    by_class: dict[WorkloadClass, list[list[float]]] = defaultdict(list)
    for (name, _), row in of_workloads.items():
        by_class[name].append(standard(row))
    means = {name: _mean(rows) for name, rows in by_class.items()}

    def ask(features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
        row = standard(vector(features))
        first, *others = sorted((math.dist(row, mean), name) for name, mean in means.items())
        second = others[0][0] if others else math.inf
        return first[1], 1.0 - first[0] / second if second else 0.0

    return ask


def rules_then_nearest(seen: Sequence[Recorded]) -> Classify:
    """The rules, and where they are not surer than a bound, what lies nearest.

    The bound is the one that is right most often on what may be seen, workload by workload.
    """
    ask_nearest, ask_rules = nearest(seen), rules(seen)
    without = {
        name: nearest([each for each in seen if each.workload != name])
        for name in {each.workload for each in seen}
    }
    answers = [
        (ask_rules(each.features), without[each.workload](each.features)[0], each.expected)
        for each in seen
    ]

    def right(bound: float) -> int:
        return sum(
            (ruled if sure > bound else near) == expected
            for (ruled, sure), near, expected in answers
        )

    # Of equals the lowest: the rules are what people can read.
    bound = max((0.0, 0.1, 0.2, 0.3, 0.5), key=lambda each: (right(each), -each))

    def ask(features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
        ruled = ask_rules(features)
        return ruled if ruled[1] > bound else ask_nearest(features)

    return ask


def tempered(seen: Sequence[Recorded]) -> Classify:
    """The rules, no surer than they were right where they were surest.

    Laplace's rule of succession over the workloads that may be seen: (right + 1) / (all + 2).
    """
    ask_rules = rules(seen)
    right: dict[str, list[bool]] = defaultdict(list)
    for each in seen:
        found, sure = ask_rules(each.features)
        if sure >= SUREST:
            right[each.workload].append(found == each.expected)
    factor = (math.fsum(fmean(own) for own in right.values()) + 1) / (len(right) + 2)

    def ask(features: Mapping[str, float]) -> tuple[WorkloadClass, float]:
        found, sure = ask_rules(features)
        return found, sure * factor

    return ask


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [fmean(column) for column in zip(*rows, strict=True)]


WAYS: Final[Mapping[str, Way]] = {
    "rules": rules,
    "rules, tempered": tempered,
    "nearest": nearest,
    "rules, then nearest": rules_then_nearest,
}
