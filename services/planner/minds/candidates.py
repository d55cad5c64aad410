"""A candidate out of a policy and parameters: one place that fills in what the policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from shared.messages import Candidate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.messages import Outcome
    from shared.policies import Policy


def candidate(
    policy: Policy,
    parameters: Mapping[str, int],
    *,
    why: str,
    ratio: float,
    low: float,
    high: float,
    origin: Literal["recall", "rule", "search", "model"],
) -> Candidate:
    """This policy with these parameters, defaults for the rest, and what is expected of it."""
    return Candidate(
        policy=policy.name,
        version=policy.manifest.version,
        parameters={**policy.manifest.defaults, **parameters},
        why=why,
        predicted_ratio=ratio,
        predicted_low=low,
        predicted_high=high,
        origin=origin,
        made=policy.made,
    )


def remembered(policy: Policy, outcome: Outcome, why: str) -> Candidate:
    """What was tried then, expected to do what it did."""
    return candidate(
        policy,
        outcome.parameters,
        why=f"{why} in {outcome.optimization}",
        ratio=outcome.ratio,
        low=outcome.low,
        high=outcome.high,
        origin="recall",
    )
