"""Observing the canary, planning, building the candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from services.planner.machine.building import build, missing, runs
from services.planner.machine.ending import finish, give_up
from services.planner.machine.generations import PLAN_S, key
from services.planner.machine.trying import next_trial
from services.planner.machine.writing import charge, command, enter, tell
from shared.fingerprint import fingerprint
from shared.messages import PlanCommand

if TYPE_CHECKING:
    from shared.messages import Built, Candidate, Plan, Profiled
    from shared.optimization import Optimization


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
        fingerprint=fingerprint(
            news.profile,
            inventories[news.host],
            state.objective,
            beside=[each.workload for each in state.beside],
            against=state.against.policy if state.against is not None else "",
        ),
        inventories=inventories,
        costs=charge(state, "observe", news.profile.cost),
    )
    state = command(state, "planner", "plan", None, PlanCommand(optimization=state.id))
    return enter(state, "planning", PLAN_S, now_unix_ns, news.profile.summary)


class Asked(msgspec.Struct, frozen=True):
    """A mind is asked now."""


def on_asked(state: Optimization) -> Optimization:
    """Count it, in the record: whoever asks, and after however many crashes."""
    return replace(state, plans_asked=state.plans_asked + 1)


def on_plan(state: Optimization, plan: Plan, now_unix_ns: int) -> Optimization:
    """What will be tried: have its policies built."""
    before = state.plan
    state = replace(state, plan=plan, costs=charge(state, "plan", plan.cost))
    state = tell(state, "planned", plan)
    if plan.problem is not None:
        if before is not None:
            return without_its_mind(replace(state, plan=before), now_unix_ns)
        return give_up(state, "failed", f"no plan: {plan.problem}", now_unix_ns)
    if not plan.candidates and before is not None and not state.trials:
        return next_trial(replace(state, plan=replace(plan, more=False)), now_unix_ns)
    if not plan.candidates:
        return finish(state, "kept-default", plan.why, now_unix_ns)
    if before is not None:
        # Who had no plan to begin with is part of how it came to this one.
        plan = replace(plan, declined=[*before.declined, *plan.declined])
    plan = replace(plan, candidates=[c for c in plan.candidates if not runs(state, c)])
    if not plan.candidates:
        why = f"what {state.canary} keeps is all that would be tried; it stays"
        return finish(state, "kept-default", why, now_unix_ns)
    state = replace(state, plan=plan)
    if not missing(state, plan.candidates):
        return next_trial(state, now_unix_ns)
    return build(state, plan.candidates, now_unix_ns, plan.why)


def without_its_mind(state: Optimization, now_unix_ns: int) -> Optimization:
    """It does not plan on: the best of what it has had screened is confirmed."""
    assert state.plan is not None
    screened: list[Candidate] = []
    for each in [trial.candidate for trial in state.trials]:
        if key(each) not in [key(known) for known in screened]:
            screened.append(each)
    if not screened:
        why = "no candidate has passed the gate, and its mind does not plan on"
        return finish(state, "rejected", why, now_unix_ns)
    plan = replace(state.plan, candidates=screened, more=False)
    return next_trial(replace(state, plan=plan, begun=0), now_unix_ns)


def on_built(state: Optimization, news: Built, now_unix_ns: int) -> Optimization:
    """An artifact, or none: the trials begin when all answers are there."""
    plan = state.plan
    assert plan is not None
    state = replace(
        state,
        builds={**state.builds, news.policy: news},
        costs=charge(state, "build", news.cost),
    )
    if missing(state, plan.candidates):
        return state
    return next_trial(state, now_unix_ns)
