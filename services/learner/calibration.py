"""What was predicted against what came: whether a mind knows what it does not know.

A fold over outcomes, by mind, class of workload and how it came to its candidate. Of one candidate
an optimization counts once, by what rests on most pairs, and of a host its latest few: nobody
outvotes the others.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from services.learner.memory import candidate
from shared import fingerprint
from shared.messages import Calibrated
from shared.statistics import mean, worsening

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.messages import Outcome

SHARE = 0.8
"""Of outcomes, what an honest interval of a prediction holds."""

FEWEST = 8
"""Outcomes before which nothing is widened: of fewer a miss or two is luck."""

MOST_WIDENED = math.log(4.0)
"""Further than that a prediction says nothing any more."""

HOST_LATEST = 8
"""Outcomes of a host that count for one row."""

LEAST_PAIRS = 3
"""Fewer measure nothing that a prediction could be held against."""


def calibrated(outcomes: Iterable[Outcome]) -> list[Calibrated]:
    """A row for each mind, class and origin that has outcomes, the largest first."""
    counting: dict[tuple[object, ...], Outcome] = {}
    for outcome in outcomes:
        if outcome.pairs < LEAST_PAIRS or not outcome.mind or not outcome.predicted_high:
            continue
        key = outcome.optimization, candidate(outcome)
        known = counting.get(key)
        if known is None or _order(outcome) > _order(known):
            counting[key] = outcome
    groups: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    hosts: Counter[tuple[str, str, str, str]] = Counter()
    for outcome in sorted(counting.values(), key=_age, reverse=True):
        row = outcome.mind, outcome.fingerprint.workload_class, outcome.origin
        hosts[*row, outcome.host] += 1
        if hosts[*row, outcome.host] <= HOST_LATEST:
            groups[row].append(outcome)
    rows = [_row(*names, group) for names, group in groups.items()]
    return sorted(rows, key=lambda row: (-row.outcomes, row.mind, row.workload_class, row.origin))


def _row(mind: str, workload_class: str, origin: str, group: Sequence[Outcome]) -> Calibrated:
    misses = sorted(map(_miss, group))
    widen = misses[math.ceil(SHARE * len(misses)) - 1] if len(misses) >= FEWEST else 0.0
    return Calibrated(
        mind=mind,
        workload_class=workload_class,
        origin=origin,
        outcomes=len(group),
        covered=sum(each <= 0 for each in misses) / len(misses),
        bias=mean([_worse(each) for each in group]),
        widen=min(max(0.0, widen), MOST_WIDENED),
    )


def _miss(outcome: Outcome) -> float:
    """How far, as a log, the outcome is beyond its prediction's interval; not above 0 inside."""
    measured = math.log(outcome.ratio)
    return max(
        math.log(outcome.predicted_low) - measured, measured - math.log(outcome.predicted_high), 0.0
    )


def _worse(outcome: Outcome) -> float:
    """How much worse than predicted, as a log: below 0 it was better."""
    direction = fingerprint.direction(outcome.fingerprint)
    return worsening(outcome.ratio / outcome.predicted_ratio, direction)


def _order(outcome: Outcome) -> tuple[int, int, float]:
    return outcome.pairs, outcome.unix_ns, outcome.ratio


def _age(outcome: Outcome) -> tuple[int, str, float]:
    return outcome.unix_ns, outcome.optimization, outcome.ratio
