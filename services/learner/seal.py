"""Whether an optimization was promoted by the judge's own word, and what it was.

A planner says so, and its key may be stolen. What hosts are told to keep against later orders of a
planner is therefore read from what only others can say: verdicts and weighed steps (the learner's
key), rounds (the canary's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.statistics import FIRST_LOOK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import Judged, Loadable, Round, Weighed

MAX_ALPHA = 0.05
"""What a confirmation has at the most, whatever its order said."""


def promoted(
    judged: Iterable[Judged],
    weighed: Iterable[Weighed],
    rounds: Iterable[Round],
    *,
    pairs: int = FIRST_LOOK,
) -> Loadable | None:
    """The candidate that a confirmation has promoted; None if none has, or if a step did harm.

    None, too, where the rounds of that trial are not all of one candidate, and where the
    confirmation was looked at before `pairs`.
    """
    if any(step.verdict == "worse" for step in weighed):
        return None
    confirmed: dict[str, Judged] = {}
    for word in judged:
        if _confirms(word, pairs):
            confirmed.setdefault(word.trial, word)
    if not confirmed:
        return None
    # Of two that were promoted (what was remembered, and a step on from it) the better one is kept.
    best = min(confirmed.values(), key=_loss)
    candidates = {
        (each.tried.artifact, *sorted(each.tried.parameters.items())): each.tried
        for each in rounds
        if each.tried is not None and each.trial == best.trial and each.host == best.measured_on
    }
    return next(iter(candidates.values())) if len(candidates) == 1 else None


def _loss(word: Judged) -> float:
    """The smaller the better, whatever direction is good."""
    lower = word.spec is None or word.spec.objective.direction == "lower"
    return word.ratio if lower else -word.ratio


def _confirms(word: Judged, pairs: int) -> bool:
    spec = word.spec
    return (
        word.verdict == "promote"
        and word.pairs >= pairs
        and spec is not None
        and spec.stage == "confirm"
        and spec.min_pairs >= pairs
        and spec.alpha <= MAX_ALPHA
        and all(finding.state == "clear" for finding in word.guardrails)
        and {each.metric for each in spec.guardrails} <= {each.metric for each in word.guardrails}
    )
