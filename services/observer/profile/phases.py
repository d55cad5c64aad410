"""Phases: stretches of time in which a workload behaves alike, found where its behaviour changes.

An average over a workload that computes, then writes, then computes again describes nobody. So the
looks are cut where what they show jumps: the cut that minimizes the squared distances to each
stretch's mean plus a price for each change (optimal partitioning: Jackson et al., IEEE Signal
Processing Letters 12(2), 2005), where the price is the Bayesian information criterion's. Each
measure is scaled by its own noise, taken from differences of neighbouring looks, so that a level
that wanders is one stretch and a jump is two.
"""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from services.observer.profile.classifier import classify
from services.observer.profile.features import features
from services.observer.profile.sampler import BusyTicks
from shared.messages import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.observer.profile.sampler import Sample

SHORTEST: Final = 4
"""Looks in a phase: fewer are a moment, and say nothing of a class."""

PRICE: Final = 3.0
"""Of a change, in units of ln(n) for each measure: BIC asks 1 for normal noise. Looks at a host
have heavier tails, and a phase that is not there costs more than one that is missed.
"""

LEAST_STEP: Final = (0.15, 0.5, 0.35)
"""Noise that every measure has at the least: a share, runnable tasks per CPU, ln of a rate."""

MOST_PHASES: Final = 16

_NOTHING: Final = BusyTicks(0, 0)
_OF_NORMAL: Final = 0.6745 * math.sqrt(2)
"""The median of |difference| of two normal values of deviation 1."""


class _Look(NamedTuple):
    """What happened between two looks: measures of the same kind as LEAST_STEP's."""

    busy_share: float
    runnable_per_cpu: float
    switches_log: float


def phases(samples: Sequence[Sample]) -> list[Phase]:
    """The workload's phases in their order; empty if it behaved alike from beginning to end."""
    cuts = changes([_look(a, b) for a, b in pairwise(samples)])
    if not cuts or len(cuts) >= MOST_PHASES:
        return []
    bounds = [0, *cuts, len(samples) - 1]
    return [_phase(samples[first : last + 1], samples[0].at_s) for first, last in pairwise(bounds)]


def agreement(found: Sequence[Phase], workload_class: str) -> float:
    """The share of the time in which phases have this class; 1 where there are none."""
    whole = sum(each.seconds for each in found)
    if not whole:
        return 1.0
    return sum(each.seconds for each in found if each.workload_class == workload_class) / whole


def changes(looks: Sequence[Sequence[float]]) -> list[int]:
    """Where stretches begin, the first one's beginning left out.

    `looks` are rows of measures, the same number in each; LEAST_STEP bounds their noise from below.
    """
    count = len(looks)
    if count < 2 * SHORTEST:
        return []
    scaled = _scaled(_smoothed(looks), _noises(looks))
    price = PRICE * len(scaled[0]) * math.log(count)
    sums, squares = _running(scaled)

    def cost(first: int, last: int) -> float:
        length = last - first
        return sum(
            squares[last][d] - squares[first][d] - (sums[last][d] - sums[first][d]) ** 2 / length
            for d in range(len(scaled[0]))
        )

    best = [0.0] + [math.inf] * count
    came = [0] * (count + 1)
    for last in range(SHORTEST, count + 1):
        for first in range(last - SHORTEST + 1):
            if math.isinf(best[first]):
                continue
            total = best[first] + cost(first, last) + (price if first else 0.0)
            if total < best[last]:
                best[last], came[last] = total, first
    cuts = []
    at = came[count]
    while at:
        cuts.append(at)
        at = came[at]
    return cuts[::-1]


def _look(before: Sample, after: Sample) -> _Look:
    def used(name: str) -> int:
        return max(0, int(getattr(after.host, name)) - int(getattr(before.host, name)))

    idle = used("idle_ticks") + used("iowait_ticks")
    total = idle + used("user_ticks") + used("system_ticks") + used("steal_ticks")
    seconds = max(1e-3, after.at_s - before.at_s)
    return _Look(
        busy_share=1 - idle / total if total else 0.0,
        # The look itself is the one that always runs.
        runnable_per_cpu=max(0, after.host.running - 1) / max(1, after.host.cpus),
        switches_log=math.log1p(used("switches") / seconds),
    )


def _smoothed(looks: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each measure's median with its neighbours: one wild look is no phase, a jump stays one."""
    around = zip([looks[0], *looks], looks, [*looks[1:], looks[-1]], strict=False)
    return [[statistics.median(values) for values in zip(*three, strict=True)] for three in around]


def _noises(looks: Sequence[Sequence[float]]) -> list[float]:
    """Each measure's deviation, from what it does between two looks; a jump hardly moves it."""
    return [
        max(least, statistics.median([abs(b - a) for a, b in pairwise(values)]) / _OF_NORMAL)
        for values, least in zip(zip(*looks, strict=True), LEAST_STEP, strict=True)
    ]


def _scaled(looks: Sequence[Sequence[float]], noises: Sequence[float]) -> list[list[float]]:
    return [[value / noise for value, noise in zip(look, noises, strict=True)] for look in looks]


def _running(scaled: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[list[float]]]:
    """Sums of values and of their squares before each look."""
    width = len(scaled[0])
    sums, squares = [[0.0] * width], [[0.0] * width]
    for look in scaled:
        sums.append([s + v for s, v in zip(sums[-1], look, strict=True)])
        squares.append([s + v * v for s, v in zip(squares[-1], look, strict=True)])
    return sums, squares


def _phase(samples: Sequence[Sample], began_s: float) -> Phase:
    found = features(samples, _NOTHING, _NOTHING)
    said = classify(found)
    return Phase(
        begins_s=round(samples[0].at_s - began_s, 3),
        seconds=round(found["seconds"], 3),
        workload_class=said.workload_class,
        confidence=round(said.confidence, 3),
        busy_share=round(found["host_busy_share"], 3),
        runnable_per_cpu=round(found["host_runnable_per_cpu"], 3),
        switches_per_s=round(found["host_switches_per_s"], 1),
    )
