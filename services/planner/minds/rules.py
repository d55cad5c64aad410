"""Rules: how well each policy fits a profile, and what to expect of it.

The score is the classifier's confidence for a policy that was made for the workload's class,
lowered or raised by what is remembered for this very fingerprint.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from shared.messages import Consideration
from shared.policies import why_not_allowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.question import Question
    from shared.messages import Outcome
    from shared.policies import Manifest

WORTH_TRYING = 0.25
"""Below this score a trial would cost more than it is likely to bring."""

REFERENCE_SCORE = 0.1
"""What a policy gets that was not made for this class: it stays on the list, as a comparison."""


ASKED_SCORE = 0.5
"""The least that a policy asked for by name gets, whatever is remembered of it: whoever names one
wants it measured, and the trial has its own guard.
"""


NEIGHBOUR_SCORE = 0.6
"""The least of a policy that won for a similar fingerprint, until it was tried for this one."""


PREFERRED_BONUS = 0.1
"""What an operator's preference adds where a policy would be tried anyhow: order, not evidence."""


class Expectation(NamedTuple):
    """A predicted ratio candidate / default of a metric that should be low, with its range."""

    ratio: float
    low: float
    high: float


EXPECTED: dict[str, Expectation] = {
    # From bench/results/policies.json: the fitting policy against the kernel's default.
    "latency-under-load": Expectation(0.35, 0.10, 0.70),
    "long-tail-batch": Expectation(0.82, 0.70, 0.97),
    "short-process-churn": Expectation(0.98, 0.92, 1.03),
}
MIND = "embedded"
"""Whose expectations these are."""

MOST_WIDENED = math.log(4.0)
"""However wrong it was, or is said to have been."""

UNKNOWN = Expectation(1.0, 0.85, 1.15)


def consider(question: Question) -> list[Consideration]:
    """Every policy that may be tried, best first, each with its reason."""
    considered = [
        _fit(policy.manifest, question)
        for policy in question.policies.values()
        if not why_not_allowed(policy, question.request)
    ]
    return sorted(considered, key=lambda c: (-c.score, c.policy))


def expectation(question: Question) -> Expectation:
    """What the fitting policy is likely to do, for the direction of the objective."""
    of_default = not question.fingerprint.against
    known = EXPECTED.get(question.profile.workload_class, UNKNOWN)
    expected = known if of_default else UNKNOWN
    if question.objective.direction == "higher":
        expected = Expectation(1 / expected.ratio, 1 / expected.high, 1 / expected.low)
    further = _widened(question)
    return Expectation(expected.ratio, expected.low / further, expected.high * further)


def _widened(question: Question) -> float:
    """By what factor ranges of this mind's rules must reach further, by how they turned out."""
    logs = [
        row.widen
        for row in question.recollection.calibration
        if row.mind == MIND
        and row.workload_class == question.profile.workload_class
        and row.origin in {"rule", "search"}
    ]
    furthest = max((log for log in logs if math.isfinite(log)), default=0.0)
    return math.exp(min(max(0.0, furthest), MOST_WIDENED))


def _fit(policy: Manifest, question: Question) -> Consideration:
    profile = question.profile
    past = [o for o in question.recollection.exact if o.policy == policy.name]
    neighbour = neighbours_winner(question, policy.name)
    made_for = profile.workload_class in policy.good_for
    if made_for:
        score = profile.confidence
        reason = f"made for {profile.workload_class} (confidence {profile.confidence:.2f})"
    else:
        score = REFERENCE_SCORE
        reason = f"not made for {profile.workload_class}"
    if neighbour is not None and score < NEIGHBOUR_SCORE:
        score = NEIGHBOUR_SCORE
    if neighbour is not None:
        reason += f"; won for a similar fingerprint at ratio {neighbour.ratio:.2f}"
    score, memory = _remembered(score, past)
    reason += memory
    if policy.name in question.request.policies:
        score = max(score, ASKED_SCORE)
        reason += "; asked for by name"
    if policy.name in question.preferred and score >= WORTH_TRYING:
        score = min(1.0, score + PREFERRED_BONUS)
        reason += "; an operator prefers it"
    return Consideration(policy=policy.name, score=round(score, 3), reason=reason)


def neighbours_winner(question: Question, policy: str) -> Outcome | None:
    """The most telling outcome in which a policy was promoted for a similar fingerprint."""
    manifest = question.policies[policy].manifest
    return next(
        (
            each
            for each in question.recollection.near
            if each.policy == policy
            and each.verdict == "promote"
            and each.fingerprint.objective == question.fingerprint.objective
            and manifest.is_whole(each.parameters)
        ),
        None,
    )


def _remembered(score: float, past: Sequence[Outcome]) -> tuple[float, str]:
    """The score in the light of what happened to this policy on this fingerprint."""
    if not past:
        return score, ""
    latest = max(past, key=lambda outcome: outcome.unix_ns)
    if latest.verdict == "promote":
        return 1.0, f"; won here before at ratio {latest.ratio:.2f} in {latest.pairs} pairs"
    if latest.verdict == "revert":
        return 0.0, f"; did harm here before (ratio {latest.ratio:.2f})"
    return score / 2, f"; not proven here before (ratio {latest.ratio:.2f})"
