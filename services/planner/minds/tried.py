"""What an optimization's trials have brought so far, for the mind that plans on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.planner.machine.generations import key
from services.planner.minds.question import Tried

if TYPE_CHECKING:
    from shared.optimization import Optimization, TrialRecord


def tried_in(state: Optimization) -> list[Tried]:
    """Each candidate once, its trials together, in the order of the first ones."""
    of: list[list[TrialRecord]] = []
    for trial in state.trials:
        same = next((each for each in of if key(each[0].candidate) == key(trial.candidate)), None)
        if same is None:
            of.append([trial])
        else:
            same.append(trial)
    return [_together(trials) for trials in of]


def rejected_in(state: Optimization) -> dict[str, str]:
    """Policies without an artifact, each with the gate's first word on it."""
    return {
        policy: next(
            (f"{each.stage}/{each.rule}: {each.text}" for each in built.reasons),
            str(built.problem or "it was not built"),
        )
        for policy, built in state.builds.items()
        if built.artifact is None
    }


def _together(trials: list[TrialRecord]) -> Tried:
    words = [each.judged for each in trials if each.judged is not None and each.judged.pairs]
    logs = [(each.pairs, math.log(each.ratio)) for each in words if each.ratio > 0]
    pairs = sum(count for count, _ in logs)
    most = max(words, key=lambda each: each.pairs, default=None)
    return Tried(
        candidate=trials[0].candidate,
        pairs=pairs,
        ratio=math.exp(sum(count * log for count, log in logs) / pairs) if pairs else 1.0,
        low=most.low if most is not None else 0.0,
        high=most.high if most is not None else math.inf,
        harmful=any(
            (each.ended is not None and each.ended.end not in {"completed", "stopped"})
            or (each.judged is not None and each.judged.verdict == "revert")
            for each in trials
        ),
    )
