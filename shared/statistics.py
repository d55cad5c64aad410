"""Statistics of paired measurements, in plain Python.

A trial's values are log ratios of adjacent pairs, a few dozen at the most, and a judge looks
at them after every pair. So the bounds here hold at every look at once.

The confidence sequence is Lai's ("On confidence sequences", Annals of Statistics 4, 1976;
in the terms of e-processes: Wang and Ramdas, "Anytime-valid t-tests", 2023). It is the
asymptotic confidence sequence's form for a small number of values: where that one takes the
estimated variance for the true one, this one pays for the estimate as Student's t does. For
normal values the chance that it ever excludes the true mean is exactly what was asked for.
It starts at a given number of values, and nothing is spent on the looks before.
"""

from __future__ import annotations

import itertools
import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_LOOK = 8
"""Pairs before which a confirmation promotes nothing."""

LOOK_AGAIN = 6
"""The same for a candidate that the learner's own verdicts have promoted here before. The error is
the same, for every sequence is built for its own first look (docs/judging.md); what it costs is
power, where six pairs do not do.
"""

ONCE_SHARE = 0.75
"""Of alpha, where values are looked at once: six cannot tell how far they follow each other, and
the rest pays for a lag-1 autocorrelation of 0.2 (bench/judge.py).
"""

SERIAL_LIMIT = 0.2
"""Lag-1 autocorrelation above which values no longer count as independent."""


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of at least two values, with n - 1 in the denominator."""
    centre = mean(values)
    return math.sqrt(math.fsum((x - centre) ** 2 for x in values) / (len(values) - 1))


def median(values: Sequence[float]) -> float:
    """Median of at least one value."""
    return _median_of_sorted(sorted(values))


def autocorrelation(values: Sequence[float]) -> float:
    """Lag-1 autocorrelation, -1 to 1; 0.0 for fewer than three values or without variance."""
    if len(values) < 3:
        return 0.0
    centre = mean(values)
    offsets = [x - centre for x in values]
    square = math.fsum(x * x for x in offsets)
    # Values that differ in their last bits alone have no variance to speak of.
    if square <= len(values) * (1e-12 * max(abs(x) for x in values)) ** 2:
        return 0.0
    return math.fsum(a * b for a, b in itertools.pairwise(offsets)) / square


def effective_deviation(values: Sequence[float]) -> float:
    """The standard deviation of at least two values, widened where they follow each other.

    With lag-1 autocorrelation r the variance of a mean is larger by (1 + r) / (1 - r). The
    estimate of r is too low by about 1 / n (Kendall 1954), which is added back. Values that
    alternate (negative r) are not rewarded for it.
    """
    serial = autocorrelation(values) + 1 / len(values) if len(values) > 2 else 0.0
    if serial <= SERIAL_LIMIT:
        return deviation(values)
    serial = min(serial, 0.9)
    return deviation(values) * math.sqrt((1 + serial) / (1 - serial))


def reach(count: int, start: int, alpha: float) -> float:
    """How far a one-sided confidence sequence reaches from the mean, in standard deviations.

    The sequence begins at `start` values (2 or more); `count` is at least that. The chance
    that it excludes the true mean on one side, at any look from `start` on, is `alpha`.
    """
    growth = (math.log(count / start) + start * _opening(start, alpha)) / count
    return math.sqrt((count - 1) / count * math.expm1(growth))


def worsening(ratio: float, direction: str) -> float:
    """The log of a ratio above 0, turned so that more is worse: a metric may be better high."""
    return math.log(ratio) if direction == "lower" else -math.log(ratio)


def half_width(values: Sequence[float], start: int, alpha: float) -> float:
    """Distance from the mean to either one-sided bound; infinite before `start` values."""
    if len(values) < max(start, 2):
        return math.inf
    return effective_deviation(values) * reach(len(values), max(start, 2), alpha)


def once(values: Sequence[float], count: int, alpha: float) -> float:
    """The same where values are looked at once, when there are `count` of them: Student's bound.

    A sequence keeps most of alpha for looks that never come here. What is widened for serial
    dependence is widened as ever; infinite for any other number of values, and for fewer than two.
    """
    if len(values) != count or count < 2:
        return math.inf
    quantile = student(1 - 2 * ONCE_SHARE * alpha, count - 1)
    return effective_deviation(values) * quantile / math.sqrt(count)


def can_pass(
    values: Sequence[float], threshold: float, *, start: int, last: int, alpha: float
) -> bool:
    """Whether the lower bound can still pass `threshold` by the time of `last` values.

    It cannot if even a future with the largest mean that the sequence still allows, and with
    the deviation seen so far, ends below it. Giving up early never adds a false promotion;
    bench/judge.py measures how little power it costs.
    """
    count = len(values)
    width = half_width(values, start, alpha)
    if math.isinf(width) or count >= last:
        return count < last
    hopeful = mean(values) + width * (last - count) / last
    return hopeful - effective_deviation(values) * reach(last, max(start, 2), alpha) > threshold


def median_interval(
    values: Sequence[float], *, level: float, seed: str, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile interval of the median from a circular block bootstrap.

    Blocks of about n^(1/3) neighbours keep what serial dependence there is (Politis and
    Romano 1992). The same values and seed give the same interval.
    """
    count = len(values)
    if count == 1:
        return values[0], values[0]
    block = max(1, round(count ** (1 / 3)))
    ring = [*values, *values[:block]]
    blocks = [ring[i : i + block] for i in range(count)]
    needed = -(-count // block)
    # Reproducible resampling, nothing secret.
    generator = random.Random(seed)  # noqa: S311
    medians = []
    for _ in range(resamples):
        sample = [x for drawn in generator.choices(blocks, k=needed) for x in drawn]
        medians.append(_median_of_sorted(sorted(sample[:count])))
    medians.sort()
    tail = (1 - level) / 2 * (resamples - 1)
    return medians[math.floor(tail)], medians[math.ceil(resamples - 1 - tail)]


@lru_cache(maxsize=256)
def student(level: float, freedom: int) -> float:
    """How many standard errors a two-sided Student interval of that level reaches.

    With t = sqrt(v) tan(angle) the density is C cos^(v-1) of the angle: found by bisection over
    Simpson's rule, to six digits.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    steps = 400

    def covered(angle: float) -> float:
        step = angle / steps
        terms = (
            (1 if i in (0, steps) else 4 if i % 2 else 2) * math.cos(i * step) ** (freedom - 1)
            for i in range(steps + 1)
        )
        return 2 * scale * step / 3 * math.fsum(terms)

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if covered(middle) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _median_of_sorted(values: Sequence[float]) -> float:
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


@lru_cache(maxsize=1024)
def _opening(start: int, alpha: float) -> float:
    """log(1 + a^2 / v) with v = start - 1 and a from 1 - F(a) + a f(a) = alpha, Student's t.

    That is Lai's choice of the first bound. With a = sqrt(v) tan(angle) its left side becomes
    C (v + 1) times the integral of sin^2 cos^(v-1) from the angle to pi/2, which falls
    steadily from 1/2 to 0: found by bisection over Simpson's rule.
    """
    freedom = start - 1
    scale = (freedom + 1) * math.exp(
        math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    )
    steps = 400

    def exceeded(angle: float) -> float:
        step = (math.pi / 2 - angle) / steps
        terms = (
            (1 if i in (0, steps) else 4 if i % 2 else 2)
            * math.sin(angle + i * step) ** 2
            # Rounding may carry the last point past pi/2, where the cosine turns negative.
            * max(math.cos(angle + i * step), 0.0) ** (freedom - 1)
            for i in range(steps + 1)
        )
        return scale * step / 3 * math.fsum(terms)

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if exceeded(middle) > alpha:
            low = middle
        else:
            high = middle
    return -2 * math.log(math.cos(low))
