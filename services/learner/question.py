"""One metric's question over a trial, whether its ratio has passed a limit.

A pair's value is the log of candidate / baseline, turned so that more is better. Whatever the
noise, with no difference between the sides that value is as likely above zero as below, for
the order within a pair is drawn by lot.

"Better by 2 %" is a ratio of 0.98 where lower is better and 1 / 0.98 where higher is; "worse
by 5 %" is 1.05, or 1 / 1.05. So a metric and its inverse get the same answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

from shared import statistics
from shared.messages import Direction, Guardrail, GuardrailFinding, Objective, Round, TrialSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCH_FROM = 4
"""Pairs from which harm is looked for: a host is not kept in harm's way for a schedule."""

RATIO_BOUND = 1e6
"""Ratios are cut to this and its inverse: an interval that reaches it knows no bound."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric's log ratios over the pairs, in the order they were run."""

    metric: str
    direction: Direction
    values: list[float]
    flaws: list[str]
    """Pairs that say nothing about this metric, and why."""

    def ratio(self, value: float) -> float:
        """A more-is-better log as candidate / baseline, cut to RATIO_BOUND."""
        log = -value if self.direction == "lower" else value
        if abs(log) >= math.log(RATIO_BOUND):
            return RATIO_BOUND if log > 0 else 1 / RATIO_BOUND
        return math.exp(log)

    def ratios(self, low: float, high: float) -> tuple[float, float]:
        """An interval of more-is-better logs as candidate / baseline, the smaller first."""
        first, second = sorted((self.ratio(low), self.ratio(high)))
        return first, second

    @property
    def middle(self) -> float:
        """Median ratio; 1.0 as long as no pair says anything (no interval is bounded then)."""
        return self.ratio(statistics.median(self.values)) if self.values else 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """A series, the limit it has to pass, and two one-sided bounds of its mean.

    Everything is a more-is-better log. Each bound is a confidence sequence: wrong with
    probability `alpha` over all its looks together.
    """

    series: Series
    limit: float
    alpha: float
    start: int
    low: float
    """What could promote or clear: -inf before `start` pairs."""
    high: float
    """What could revert: inf before WATCH_FROM pairs."""

    @property
    def passed(self) -> bool:
        """Whether the mean is proven to be beyond the limit, every pair being usable."""
        return self.low > self.limit and not self.series.flaws

    @property
    def failed(self) -> bool:
        """Whether the mean is proven to fall short of the limit."""
        return self.high < self.limit

    @property
    def harmed(self) -> bool:
        """Whether the mean is proven to have got worse at all."""
        return self.high < 0

    def reachable(self, last: int) -> bool:
        """Whether the limit can still be passed by pair `last`."""
        return statistics.can_pass(
            self.series.values, self.limit, start=self.start, last=last, alpha=self.alpha
        )


def about_objective(spec: TrialSpec, pairs: Sequence[Round]) -> Question:
    """Is the objective better by the least useful effect? `comparisons` share alpha."""
    effect = spec.objective.least_effect
    limit = -math.log1p(-effect) if effect < 1 else math.inf
    return _question(spec, spec.objective, limit, spec.alpha / max(spec.comparisons, 1), pairs)


def about_guardrail(spec: TrialSpec, guardrail: Guardrail, pairs: Sequence[Round]) -> Question:
    """Is a guardrail not worse than its margin allows? The guardrails share alpha.

    `comparisons` do not: a promotion needs every guardrail clear at once, on pairs that no
    earlier choice has looked at, so this share is strict already.
    """
    limit = -math.log1p(guardrail.margin)
    return _question(spec, guardrail, limit, spec.alpha / len(spec.guardrails), pairs)


def finding(guardrail: Guardrail, question: Question) -> GuardrailFinding:
    """Where a guardrail stands, for the world outside."""
    state: Literal["clear", "open", "violated"] = "open"
    if question.failed:
        state = "violated"
    elif question.passed:
        state = "clear"
    low, high = question.series.ratios(question.low, question.high)
    return GuardrailFinding(
        metric=guardrail.metric,
        state=state,
        ratio=question.series.middle,
        low=low,
        high=high,
        margin=guardrail.margin,
    )


def _question(
    spec: TrialSpec,
    what: Objective | Guardrail,
    limit: float,
    alpha: float,
    pairs: Sequence[Round],
) -> Question:
    series = _series(what, pairs)
    values = series.values
    start = max(spec.min_pairs, 2)
    low, high = -math.inf, math.inf
    if values:
        centre = statistics.mean(values)
        low = centre - (
            statistics.once(values, start, alpha)
            if start == spec.max_pairs
            else statistics.half_width(values, start, alpha)
        )
        high = centre + statistics.half_width(values, min(start, WATCH_FROM), alpha)
    return Question(series=series, limit=limit, alpha=alpha, start=start, low=low, high=high)


def _series(what: Objective | Guardrail, pairs: Sequence[Round]) -> Series:
    sign = -1 if what.direction == "lower" else 1
    series = Series(metric=what.metric, direction=what.direction, values=[], flaws=[])
    for pair in pairs:
        before, after = pair.baseline.get(what.metric), pair.candidate.get(what.metric)
        if _usable(before) and _usable(after):
            # The difference of logs: the quotient of two finite floats may overflow.
            series.values.append(sign * (math.log(after) - math.log(before)))
        else:
            series.flaws.append(
                f"pair {pair.index} has {_said(before)} for the baseline "
                f"and {_said(after)} for the candidate"
            )
    return series


def _usable(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def _said(value: float | None) -> str:
    return "no number" if value is None else f"{value:g}"
