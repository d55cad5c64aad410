"""The judge's sentences: short, with the numbers that decided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.learner.question import WATCH_FROM, Question, Series
from shared import statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.messages import Round, TrialSpec


def standing(question: Question) -> str:
    """Where the objective stands."""
    series = question.series
    count = len(series.values)
    if not count:
        return f"No pair says anything about {series.metric}."
    text = f"{series.metric}: median ratio {series.middle:.3f} over {_pairs(count)}"
    if math.isinf(question.low):
        return f"{text}; no promotion before pair {question.start}."
    low, high = series.ratios(question.low, question.high)
    return f"{text}, the mean is between {low:.3f} and {high:.3f}."


def harm(question: Question) -> str:
    """Why the objective reverts."""
    return f"{question.series.metric} got worse: {_best(question)}."


def violation(question: Question) -> str:
    """Why a guardrail reverts."""
    return (
        f"Guardrail {question.series.metric} is violated: {_best(question)}, {_allowed(question)}."
    )


def usefulness(question: Question) -> str:
    """How far the objective is from the least useful effect."""
    state = "is better" if question.passed else "is not proven better"
    return f"{question.series.metric} {state}: {_worst(question)}, {_limit(question)} is needed."


def guarding(question: Question) -> str:
    """How far a guardrail is from clear."""
    state = "clear" if question.passed else "open"
    return (
        f"Guardrail {question.series.metric} is {state}: {_worst(question)}, {_allowed(question)}."
    )


def futility(spec: TrialSpec, question: Question) -> str:
    """Why no more pairs are worth their time."""
    return (
        f"{question.series.metric} can hardly pass {question.series.ratio(question.limit):.3f} "
        f"within {spec.max_pairs} pairs any more."
    )


def flaws(spec: TrialSpec, pairs: Sequence[Round], series: Sequence[Series]) -> list[str]:
    """What forbids a promotion whatever the numbers say; empty when nothing does."""
    return [*_mixed(pairs), *_missing(pairs), *_unusable(series), *_unbalanced(spec, pairs)]


def serial(question: Question) -> Iterator[str]:
    """A note when neighbouring pairs are seen not to be independent; a few cannot show it."""
    values = question.series.values
    found = statistics.autocorrelation(values)
    # Independent pairs' own coefficient scatters with a standard deviation of 1/sqrt(n).
    limit = max(statistics.SERIAL_LIMIT, 2 / math.sqrt(max(len(values), 1)))
    if len(values) >= question.start and abs(found) > limit:
        widened = ", and the bounds are widened for it" if found > 0 else ""
        yield (
            f"Neighbouring pairs are correlated: lag-1 {found:+.2f} is beyond "
            f"±{limit:.2f}{widened}. Longer rounds would help."
        )


def _mixed(pairs: Sequence[Round]) -> Iterator[str]:
    trials = {pair.trial for pair in pairs}
    if len(trials) > 1:
        yield f"Rounds of {len(trials)} trials are mixed: they cannot be judged as one."


def _missing(pairs: Sequence[Round]) -> Iterator[str]:
    """Whoever could leave out the pairs that went badly would always win."""
    had = {pair.index for pair in pairs}
    missing = set(range(max(had, default=-1) + 1)) - had
    if missing or any(index < 0 for index in had):
        yield (
            f"Of the pairs up to {max(had)} only {len(had)} are there: "
            "missing evidence never promotes."
        )


def _unusable(series: Sequence[Series]) -> Iterator[str]:
    for each in series:
        if each.flaws:
            more = f" (and {_pairs(len(each.flaws) - 1)} more)" if len(each.flaws) > 1 else ""
            yield (
                f"{each.metric} is unusable: {each.flaws[0]}{more}. "
                "Only positive numbers can be compared; missing evidence never promotes."
            )


def _unbalanced(spec: TrialSpec, pairs: Sequence[Round]) -> Iterator[str]:
    orders = {pair.order for pair in pairs}
    if len(pairs) >= max(spec.min_pairs, WATCH_FROM) and len(orders) == 1:
        yield (
            f"All {len(pairs)} pairs ran in the order {orders.pop()}: a drift would look like "
            "an effect."
        )


def _worst(question: Question) -> str:
    if math.isinf(question.low):
        return f"no bound before pair {question.start}"
    return f"at worst {question.series.ratio(question.low):.3f} times the baseline's"


def _best(question: Question) -> str:
    return f"at best {question.series.ratio(question.high):.3f} times the baseline's"


def _limit(question: Question) -> str:
    side = "at most" if question.series.direction == "lower" else "at least"
    return f"{side} {question.series.ratio(question.limit):.3f}"


def _allowed(question: Question) -> str:
    return f"{_limit(question)} is allowed"


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"
