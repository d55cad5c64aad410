"""Observing the canary, planning, building the candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from services.planner.machine.ending import finish, give_up
from services.planner.machine.trying import next_trial
from services.planner.machine.writing import charge, command, enter, tell
from shared.fingerprint import fingerprint
from shared.messages import BuildCommand, PlanCommand

if TYPE_CHECKING:
    from shared.messages import Built, Plan, Profiled
    from shared.optimization import Optimization

PLAN_S = 120.0
BUILD_S = 180.0


def on_profiled(state: Optimization, news: Profiled, now_unix_ns: int) -> Optimization:
    """How the workload behaves on the canary: the fingerprint, and what to plan for."""
    if news.profile is None:
        why = str(news.problem) if news.problem else "it gave no reason"
        return give_up(state, "failed", f"{news.host} could not be profiled: {why}", now_unix_ns)
    inventories = dict(state.inventories)
    if news.inventory is not None:
        inventories[news.host] = news.inventory
    state = replace(
        state,
        profile=news.profile,
        fingerprint=fingerprint(news.profile, inventories[news.host], state.objective),
        inventories=inventories,
        costs=charge(state, "observe", news.profile.cost),
    )
    state = command(state, "planner", "plan", None, PlanCommand(optimization=state.id))
    return enter(state, "planning", PLAN_S, now_unix_ns, news.profile.summary)


def on_plan(state: Optimization, plan: Plan, now_unix_ns: int) -> Optimization:
    """What will be tried: have its policies built."""
    state = replace(state, plan=plan, costs=charge(state, "plan", plan.cost))
    state = tell(state, "planned", plan)
    if plan.problem is not None:
        return give_up(state, "failed", f"no plan: {plan.problem}", now_unix_ns)
    if not plan.candidates:
        return finish(state, "kept-default", plan.why, now_unix_ns)
    for policy in sorted({candidate.policy for candidate in plan.candidates}):
        state = command(
            state,
            "executor",
            "build",
            None,
            BuildCommand(
                optimization=state.id, policy=policy, expires_unix_ns=state.expires_unix_ns
            ),
        )
    return enter(state, "building", BUILD_S, now_unix_ns, plan.why)


def on_built(state: Optimization, news: Built, now_unix_ns: int) -> Optimization:
    """An artifact, or none: the trials begin when all answers are there."""
    plan = state.plan
    assert plan is not None
    state = replace(
        state,
        builds={**state.builds, news.policy: news},
        costs=charge(state, "build", news.cost),
    )
    wanted = {candidate.policy for candidate in plan.candidates}
    if wanted - state.builds.keys():
        return state
    return next_trial(state, now_unix_ns)
