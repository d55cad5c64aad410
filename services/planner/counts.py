"""What the planner's steps add to its metrics: each step is counted by whoever wrote it, once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from shared.messages import Cost
from shared.metrics import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.metrics import Metrics
    from shared.optimization import Optimization


def count_step(metrics: Metrics, before: Optimization, after: Optimization) -> None:
    """Count what happened between two states of one optimization."""
    metrics.count(declared.ROUNDS, max(0, after.rounds_used - before.rounds_used))
    had = {trial.trial: trial for trial in before.trials}
    for trial in after.trials:
        old = had.get(trial.trial)
        if trial.ended is not None and (old is None or old.ended is None):
            metrics.count(declared.TRIALS, end=trial.ended.end)
        if trial.decision is not None and (old is None or old.decision is None):
            metrics.count(declared.DECISIONS, verdict=trial.decision.verdict)
    for stage, cost in after.costs.items():
        paid = before.costs.get(stage, Cost())
        metrics.count(declared.WORKED, max(0.0, cost.wall_s - paid.wall_s), stage=stage)
        metrics.count(declared.TOKENS, max(0, cost.tokens - paid.tokens), stage=stage)
        metrics.count(declared.DOLLARS, max(0.0, cost.dollars - paid.dollars), stage=stage)
    if after.over and not before.over and after.terminal is not None:
        metrics.count(declared.ENDED, terminal=after.terminal)


def count_alive(metrics: Metrics, alive: Iterable[Optimization]) -> None:
    """Show how many are in each phase now."""
    phases = Counter(state.phase for state in alive)
    for phase in declared.ALIVE.labels["phase"]:
        metrics.set(declared.ALIVE, phases[phase], phase=phase)  # type: ignore[index]
