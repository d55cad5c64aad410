"""Whether an optimization was promoted by the judge's own word, and what it was.

A planner says so, and its key may be stolen. What hosts are told to keep against later orders of a
planner is therefore read from what only others can say: verdicts and weighed steps (the learner's
key), rounds (the canary's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import Judged, Loadable, Round, Weighed

MIN_PAIRS = 8
MAX_ALPHA = 0.05
"""What a confirmation has at least, whatever its order said."""


def promoted(
    judged: Iterable[Judged], weighed: Iterable[Weighed], rounds: Iterable[Round]
) -> Loadable | None:
    """The candidate that a confirmation has promoted; None if none has, or if a step did harm.

    None, too, where the rounds of that trial are not all of one candidate.
    """
    if any(step.verdict == "worse" for step in weighed):
        return None
    confirmed = [word for word in judged if _confirms(word)]
    if not confirmed:
        return None
    last = confirmed[-1]
    candidates = {
        (each.tried.artifact, *sorted(each.tried.parameters.items())): each.tried
        for each in rounds
        if each.tried is not None and each.trial == last.trial and each.host == last.measured_on
    }
    return next(iter(candidates.values())) if len(candidates) == 1 else None


def _confirms(word: Judged) -> bool:
    spec = word.spec
    return (
        word.verdict == "promote"
        and word.pairs >= MIN_PAIRS
        and spec is not None
        and spec.stage == "confirm"
        and spec.min_pairs >= MIN_PAIRS
        and spec.alpha <= MAX_ALPHA
        and all(finding.state == "clear" for finding in word.guardrails)
        and {each.metric for each in spec.guardrails} <= {each.metric for each in word.guardrails}
    )
