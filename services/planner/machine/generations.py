"""One plan after another: a mind sees what its candidates have brought, and goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from services.planner.machine.writing import command, enter
from shared.messages import Candidate, PlanCommand

if TYPE_CHECKING:
    from shared.optimization import Optimization

MOST_GENERATIONS = 6
"""Plans of one optimization. Rounds bound them sooner; this bounds what a mind may cost."""

PLAN_S = 120.0


def key(candidate: Candidate) -> tuple[str, str, dict[str, int]]:
    """Which candidate it is, whyever and by whatever plan it is proposed."""
    return candidate.policy, candidate.version, candidate.parameters


def wants_more(state: Optimization) -> bool:
    """Whether a mind waits to see what was screened, and may yet plan from it."""
    plan = state.plan
    return plan is not None and plan.more and state.generation + 1 < MOST_GENERATIONS


def ask_again(state: Optimization, now_unix_ns: int) -> Optimization:
    """Have the same mind plan from what is known now."""
    state = replace(state, generation=state.generation + 1, plans_asked=0, begun=len(state.trials))
    state = command(state, "planner", "plan", None, PlanCommand(optimization=state.id))
    tried = f"{state.rounds_used} of {state.request.budget.rounds} rounds are used"
    return enter(state, "planning", PLAN_S, now_unix_ns, f"planning from what was tried; {tried}")
