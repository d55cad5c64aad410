"""What several trials of one candidate say together, on the log scale.

Trials differ by more than their noise: hosts, neighbours of a virtual machine, the day. So the
model is random effects: each trial has a log ratio of its own around a common mean. The spread
between them is DerSimonian and Laird's estimate (Controlled Clinical Trials 7, 1986), the interval
of the mean is Hartung and Knapp's with Student's t (Statistics in Medicine 20, 2001), never
narrower than the plain one (Knapp and Hartung 2003): for a handful of trials it holds what it
promises, which the usual normal interval does not (IntHout, Ioannidis, Borm 2014).

For two trials that interval is wider than anything one can use (t is 12.7), so two trials get the
span of both of their intervals, and one gets its own. A trial's standard error is read from its
95 % interval; one without an interval (fewer than two pairs, or a bound that the judge has cut)
says nothing here. A trial that was stopped early counts by what it has: its interval is wide.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shared import statistics
from shared.outcomes import FURTHEST_RATIO
from shared.repository import Combined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.messages import Outcome

LEVEL = 0.95
NORMAL = 1.959964
"""How many standard errors a normal interval of that level reaches."""

LEAST_ERROR = 0.005
"""No trial knows its ratio better than to half a percent, whatever its interval says."""


def combine(outcomes: Sequence[Outcome]) -> Combined | None:
    """One ratio of outcomes that are independent of each other; None if none has an interval."""
    known = [each for each in outcomes if has_interval(each)]
    if not known:
        return None
    if len(known) == 1:
        (one,) = known
        return Combined(ratio=one.ratio, low=one.low, high=one.high, trials=1)
    logs = [math.log(each.ratio) for each in known]
    squares = [_error(each) ** 2 for each in known]
    spread = _spread(logs, squares)
    weights = [1 / (square + spread) for square in squares]
    whole = math.fsum(weights)
    middle = math.fsum(w * x for w, x in zip(weights, logs, strict=True)) / whole
    if len(known) == 2:
        low, high = min(each.low for each in known), max(each.high for each in known)
    else:
        freedom = len(known) - 1
        excess = math.fsum(w * (x - middle) ** 2 for w, x in zip(weights, logs, strict=True))
        error = math.sqrt(max(1.0, excess / freedom) / whole)
        reach = statistics.student(LEVEL, freedom) * error
        low, high = _cut(middle - reach), _cut(middle + reach)
    return Combined(
        ratio=math.exp(middle), low=low, high=high, trials=len(known), spread=math.sqrt(spread)
    )


def conflicting(outcomes: Sequence[Outcome]) -> bool:
    """Whether they contradict each other: no one figure tells what they say.

    Promoted once and reverted another time (a guardrail may be why, whatever the ratio), or
    one proven below no change and another above it.
    """
    verdicts = {each.verdict for each in outcomes}
    known = [each for each in outcomes if has_interval(each)]
    apart = any(each.high < 1 for each in known) and any(each.low > 1 for each in known)
    return {"promote", "revert"} <= verdicts or apart


def has_interval(outcome: Outcome) -> bool:
    """Whether its trial had two pairs and more, and bounds on both sides."""
    bounded = outcome.low > 1 / FURTHEST_RATIO and outcome.high < FURTHEST_RATIO
    return outcome.pairs > 1 and bounded


def _error(outcome: Outcome) -> float:
    return max(LEAST_ERROR, (math.log(outcome.high) - math.log(outcome.low)) / (2 * NORMAL))


def _spread(logs: Sequence[float], squares: Sequence[float]) -> float:
    """The variance between trials: what Cochran's Q has above its expectation, or zero."""
    weights = [1 / square for square in squares]
    whole = math.fsum(weights)
    middle = math.fsum(w * x for w, x in zip(weights, logs, strict=True)) / whole
    excess = math.fsum(w * (x - middle) ** 2 for w, x in zip(weights, logs, strict=True))
    scale = whole - math.fsum(w * w for w in weights) / whole
    return max(0.0, (excess - (len(logs) - 1)) / scale)


def _cut(log: float) -> float:
    """A bound as a ratio, cut as the judge cuts his."""
    most = math.log(FURTHEST_RATIO)
    return math.exp(max(-most, min(most, log)))
