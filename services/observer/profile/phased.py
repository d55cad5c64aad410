"""Gives phases what full looks saw in them, and a class where that was enough.

Beats say when a phase was; what its tasks did, only looks say. Of a phase too short for three
looks there are no features of tasks, and it gets no class.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from services.observer.profile.classifier import Classification, classify
from services.observer.profile.features import features
from services.observer.profile.sampler import BusyTicks, Details
from shared.messages import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.observer.profile.phases import Course, Kind, Stretch
    from services.observer.profile.sampler import Reading, Sample

LEAST_LOOKS: Final = 3
LEAST_SEEN: Final = 0.5
"""Of a phase's time, looks must cover this share before it is given a class."""
ALTERNATING: Final = 3
"""Visits to each kind of phase."""
OF_THE_WHOLE: Final = frozenset({"long-tail-batch", "short-process-churn"})
LEAST_STILL: Final = 0.15
"""Of the time: less than this at both ends changes no average by much."""
KEPT: Final = (
    "waiting_per_cpu",
    "runnable_count",
    "hog_cpu_share",
    "sleeper_cpu_share",
    "short_cpu_share",
    "sleeper_wakeups_per_s",
    "preemptions_per_s",
    "wait_mean_ms",
)
"""Features of its tasks that are told of a phase."""
_NOTHING: Final = BusyTicks(0, 0)


def phases_of(course: Course, samples: Sequence[Sample]) -> list[Phase]:
    """What is told of each kind of phase, most of the time first."""
    whole = interpolated(samples)
    return [_phase(kind, whole) for kind in course.kinds]


def awake(samples: Sequence[Sample], course: Course) -> Sequence[Sample]:
    """The looks at what was active; all of them where it stood still for little of the time.

    A program that has to start, or leaves its children to be waited for, is no less what it does.
    """
    if course.active is None or len(samples) < 2:
        return samples
    whole_s = samples[-1].at_s - samples[0].at_s
    first, last = (
        bisect_right([each.at_s for each in samples], course.active.begin_s) - 1,
        bisect_left([each.at_s for each in samples], course.active.end_s),
    )
    within = samples[max(0, first) : last + 1]
    if course.active.seconds > (1.0 - LEAST_STILL) * whole_s or len(within) < LEAST_LOOKS:
        return samples
    return within


def agreed(whole: Classification, phases: Sequence[Phase]) -> Classification:
    """The class of a run with phases: as sure as the time in which they are of it.

    Of one that alternates, no class that none of its phases has: hogs in one phase and sleepers in
    another are no service under load. What is so only on average is `mixed`, as surely as its
    phases are what they are. How unequal jobs are, and how processes come and go, shows over all of
    the run alone: such a class stays.
    """
    named = [phase for phase in phases if phase.workload_class is not None]
    seen = math.fsum(phase.share for phase in named)
    if whole.workload_class in OF_THE_WHOLE or seen < LEAST_SEEN:
        return whole
    alike = math.fsum(p.share for p in named if p.workload_class == whole.workload_class)
    alternates = all(phase.visits >= ALTERNATING for phase in phases)
    if alike or whole.workload_class == "mixed" or not alternates:
        share = 1.0 if whole.workload_class == "mixed" else alike / seen
        return whole._replace(confidence=whole.confidence * share)
    confidence = math.fsum(phase.share * phase.confidence for phase in named)
    return whole._replace(workload_class="mixed", confidence=min(1.0, confidence))


def _phase(kind: Kind, samples: Sequence[Sample]) -> Phase:
    seen_s = 0.0
    sums: dict[str, float] = {}
    for stretch in kind.stretches:
        within = _within(samples, stretch)
        if len(within) < LEAST_LOOKS:
            continue
        found = features(within, _NOTHING, _NOTHING)
        seen_s += found["seconds"]
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value * found["seconds"]
    classification = None
    told = dict(kind.features)
    if seen_s >= LEAST_SEEN * kind.seconds:
        means = {name: value / seen_s for name, value in sums.items()} | kind.features
        classification = classify(means)
        told |= {name: means[name] for name in KEPT if name in means}
    return Phase(
        share=min(1.0, kind.share),
        visits=len(kind.stretches),
        mean_s=kind.seconds / len(kind.stretches),
        features=told,
        workload_class=classification.workload_class if classification else None,
        confidence=classification.confidence if classification else 0.0,
    )


def _within(samples: Sequence[Sample], stretch: Stretch) -> list[Sample]:
    return [each for each in samples if stretch.begin_s <= each.at_s <= stretch.end_s]


def interpolated(samples: Sequence[Sample]) -> list[Sample]:
    """The same, with a task's switches at each of its readings.

    They are read more seldom than the rest, and a short stretch might have none. Between two
    readings that have them they are taken to have grown as the slices did.
    """
    histories: dict[tuple[int, float], list[tuple[int, Reading]]] = {}
    for look, sample in enumerate(samples):
        for tid, reading in sample.readings.items():
            histories.setdefault((tid, reading.started_s), []).append((look, reading))
    filled: list[dict[int, Reading]] = [dict(sample.readings) for sample in samples]
    for (tid, _), history in histories.items():
        known = [at for at, (_, reading) in enumerate(history) if reading.details is not None]
        for before, after in pairwise(known):
            for at in range(before + 1, after):
                look, reading = history[at]
                details = _between(history[before][1], history[after][1], reading)
                filled[look][tid] = reading._replace(details=details)
    return [
        sample._replace(readings=readings) for sample, readings in zip(samples, filled, strict=True)
    ]


def _between(before: Reading, after: Reading, now: Reading) -> Details:
    first, last = before.details, after.details
    assert first is not None
    assert last is not None
    slices = after.slices - before.slices
    part = min(1.0, max(0.0, (now.slices - before.slices) / slices)) if slices > 0 else 0.0

    def at(name: str) -> int:
        a, b = int(getattr(first, name)), int(getattr(last, name))
        return round(a + part * (b - a))

    return Details(first.cpu, at("voluntary"), at("involuntary"), at("migrations"))
