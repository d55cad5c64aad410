"""Judging a step of a rollout: whether hosts with the candidate do worse than those held out.

Nothing is run for it. What is compared is what every kernel counts: how long runnable tasks
waited for a CPU, for each second that tasks ran. Each host is compared with itself before, on
the same scale for every load; the change of the treated hosts with the change of the control,
so that what happens to all of them (the hour of the day, a release) is taken out.

Hosts were assigned by lot, so under "the candidate changes nothing" every other assignment would
have been as likely: that is Fisher's permutation test ("The Design of Experiments", 1935), exact
for any number of hosts. It can only see gross harm, and only where hosts have work; an answer
"untold" is honest and common in small fleets.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING

from shared.messages import Weighed
from shared.statistics import mean, median

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.messages import HostUsage, Usage, WeighCommand

ALPHA = 0.01
"""Chance of halting a harmless rollout, shared by its steps."""
LEAST_HARM = 1.25
"""A quarter more waiting is what halts; less may be the price of what was asked for."""
FLOOR = 0.02
"""Waiting of 20 ms for each second of work is nothing: ratios of such numbers are damped."""
LEAST_LOAD = 0.05
"""CPUs in use, on average, below which a host has too little work to say anything."""
DRAWS = 5_000
"""Assignments looked at where there are more than so many."""


def weigh(command: WeighCommand) -> Weighed:
    """The verdict on one step, with its reasons in words."""
    treated, control = _changes(command.treated), _changes(command.control)
    alpha = ALPHA / max(1, command.comparisons)
    seen = (
        f"{len(treated)} of {len(command.treated)} hosts with it and {len(control)} of "
        f"{len(command.control)} held out had work to compare"
    )
    if math.comb(len(treated) + len(control), len(treated)) * alpha < 1.0:
        why = f"{seen}: too few for a chance of {alpha:.2g} to be seen."
        return Weighed(
            optimization=command.optimization,
            cohort=command.cohort,
            verdict="untold",
            reasons=[why],
        )
    ratio = math.exp(median(treated) - median(control))
    chance = _chance(treated, control, seed=f"{command.optimization}/{command.cohort}")
    worse = chance <= alpha and ratio >= LEAST_HARM
    waited = (
        f"Tasks waited {ratio:.2f} times as long for each second they ran, against the control's "
        f"change; {LEAST_HARM:g} is too much."
    )
    lucky = f"By luck alone so much or more has a chance of {chance:.2g}; {alpha:.2g} counts."
    return Weighed(
        optimization=command.optimization,
        cohort=command.cohort,
        verdict="worse" if worse else "not-worse",
        ratio=ratio,
        chance=chance,
        reasons=[waited, lucky, f"{seen}."],
    )


def _changes(hosts: Iterable[HostUsage]) -> list[float]:
    """Of each host that had work: the log of how its waiting changed."""
    return [
        math.log((_waiting(host.soaking) + FLOOR) / (_waiting(host.before) + FLOOR))
        for host in hosts
        if _has_work(host.before) and _has_work(host.soaking)
    ]


def _has_work(usage: Usage) -> bool:
    return usage.seconds > 0 and usage.run_s >= LEAST_LOAD * usage.seconds and usage.wait_s >= 0


def _waiting(usage: Usage) -> float:
    return usage.wait_s / usage.run_s


def _chance(treated: Sequence[float], control: Sequence[float], *, seed: str) -> float:
    """How often another assignment of the hosts would look at least as bad, 0 to 1."""
    values = [*treated, *control]
    total, size = math.fsum(values), len(treated)
    least = mean(treated) * size - 1e-9 * max(1.0, *(abs(value) for value in values))
    count = math.comb(len(values), size)
    if count <= DRAWS:
        sums = (math.fsum(some) for some in itertools.combinations(values, size))
        return sum(1 for each in sums if each >= least) / count
    # The smaller side is drawn: the other one's sum follows.
    small = min(size, len(control))
    dice = random.Random(seed)  # noqa: S311 - lots, not secrets
    hits = 0
    for _ in range(DRAWS):
        drawn = math.fsum(dice.sample(values, small))
        hits += (drawn if small == size else total - drawn) >= least
    # The assignment that was really drawn is one of them.
    return (1 + hits) / (1 + DRAWS)
