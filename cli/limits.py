"""What a ratio has to pass, as the judge counts it: symmetrical on the log axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import figures

if TYPE_CHECKING:
    from shared.messages import Guardrail, Objective
    from shared.optimization import Incumbent


def wanted_ratio(objective: Objective) -> float:
    """The candidate / baseline ratio that a promotion needs at the least."""
    lower = max(1 - objective.least_effect, 1 / figures.UNBOUNDED)
    return lower if objective.direction == "lower" else 1 / lower


def allowed_ratio(guardrail: Guardrail) -> float:
    """The worst candidate / baseline ratio that a guardrail allows."""
    higher = 1 + guardrail.margin
    return higher if guardrail.direction == "lower" else 1 / higher


def baseline(against: Incumbent | None) -> str:
    """What ratios are relative to, in a word or two."""
    return "default" if against is None else f"kept {against.candidate.policy}"


def in_words(limit: Objective | Guardrail, ratio: float) -> str:
    """`p99 at most 0.950×`."""
    side = "at most" if limit.direction == "lower" else "at least"
    return f"{limit.metric} {side} {figures.ratio(ratio)}×"
