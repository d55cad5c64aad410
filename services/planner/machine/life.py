"""Which news matters when, and what time does: from one state of an optimization to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from services.planner.machine import rollout
from services.planner.machine.ending import end, give_up
from services.planner.machine.planning import (
    Asked,
    on_asked,
    on_built,
    on_plan,
    on_profiled,
    without_its_mind,
)
from services.planner.machine.trying import on_trial_news
from services.planner.machine.waiting import (
    Begin,
    Hold,
    Refuse,
    Release,
    Wait,
    on_begin,
    on_hold,
    on_refuse,
    on_release,
    on_wait,
)
from services.planner.machine.writing import ns, tell
from shared.messages import (
    Accepted,
    Built,
    CancelRequest,
    Confirmed,
    Deployed,
    Judged,
    Plan,
    Probed,
    Profiled,
    Remembered,
    Reverted,
    Round,
    TrialEnded,
    Weighed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.optimization import Optimization


class Tick(msgspec.Struct, frozen=True):
    """Time went by."""


class Lost(msgspec.Struct, frozen=True):
    """Something that it cannot go on without is gone from the bus."""

    what: str


News = (
    Profiled
    | Plan
    | Built
    | Round
    | Judged
    | TrialEnded
    | Deployed
    | Confirmed
    | Probed
    | Weighed
    | Reverted
    | Remembered
    | CancelRequest
    | Asked
    | Begin
    | Refuse
    | Wait
    | Hold
    | Release
    | Lost
    | Tick
)

QUEUE_S = 86_400.0
"""Who has not had a turn within a day is not waited for any more."""


def accept(state: Optimization, now_unix_ns: int) -> Optimization:
    """The first step of a new optimization: tell everybody, and wait for a turn."""
    state = tell(
        state,
        "accepted",
        Accepted(
            optimization=state.id,
            trace_id=state.trace_id,
            request=state.request,
            hosts=state.hosts,
        ),
    )
    # Nothing is touched before its hosts are its own: `Begin` says so.
    return replace(state, deadline_unix_ns=now_unix_ns + ns(QUEUE_S))


def advance(state: Optimization, news: News, now_unix_ns: int) -> Optimization:  # noqa: C901, PLR0912
    """The state after the news."""
    if state.over:
        return state
    match news:
        case CancelRequest():
            if state.phase != "remembering":
                return give_up(state, "cancelled", news.reason, now_unix_ns)
        case Lost():
            if state.phase != "remembering":
                return give_up(state, "failed", news.what, now_unix_ns)
        case Tick():
            return _on_tick(state, now_unix_ns)
        case Profiled():
            if state.phase == "profiling" and news.host == state.canary:
                return on_profiled(state, news, now_unix_ns)
        case Asked():
            if state.phase == "planning":
                return on_asked(state)
        case Plan():
            if state.phase == "planning" and news.generation == state.generation:
                return on_plan(state, news, now_unix_ns)
        case Built():
            if state.phase == "building" and news.policy not in state.builds:
                return on_built(state, news, now_unix_ns)
        case Round() | Judged() | TrialEnded():
            if state.phase == "trying" and not state.held_unix_ns:
                return on_trial_news(state, news, now_unix_ns)
        case Deployed() | Confirmed() | Weighed() | Reverted():
            if state.cohorts and state.phase in {"trying", "deploying"}:
                return _on_rollout_news(state, news, now_unix_ns)
        case Probed():
            return rollout.on_probed(state, news, now_unix_ns)
        case Begin() | Refuse() | Wait() | Hold() | Release():
            return _on_turn(state, news, now_unix_ns)
        case Remembered():
            if state.phase == "remembering":
                return end(state, now_unix_ns)
    return state


def sent(state: Optimization, ids: Sequence[str]) -> Optimization:
    """The state once these messages of its outbox are on the bus."""
    done = set(ids)
    return replace(state, outbox=[item for item in state.outbox if item.id not in done])


def _on_rollout_news(
    state: Optimization, news: Deployed | Confirmed | Weighed | Reverted, now_unix_ns: int
) -> Optimization:
    match news:
        case Deployed():
            return rollout.on_deployed(state, news, now_unix_ns)
        case Confirmed():
            return rollout.on_confirmed(state, news, now_unix_ns)
        case Weighed():
            return rollout.on_weighed(state, news, now_unix_ns)
        case Reverted():
            return rollout.on_reverted(state, news, now_unix_ns)


def _on_turn(
    state: Optimization, news: Begin | Refuse | Wait | Hold | Release, now_unix_ns: int
) -> Optimization:
    match news:
        case Begin():
            began = state.phase != "queued" or state.holds
            return state if began else on_begin(state, news, now_unix_ns)
        case Refuse():
            return on_refuse(state, news, now_unix_ns) if state.phase == "queued" else state
        case Wait():
            return on_wait(state, news) if state.phase == "queued" else state
        case Hold():
            return on_hold(state, news) if state.phase != "remembering" else state
        case Release():
            return on_release(state, news, now_unix_ns)


def _on_tick(state: Optimization, now_unix_ns: int) -> Optimization:
    if state.phase == "remembering":
        if now_unix_ns >= state.deadline_unix_ns:
            # The command stays on the bus: a learner that comes back still learns from it.
            why = "the learner has not confirmed the outcome yet"
            return end(replace(state, reasons=[*state.reasons, why]), now_unix_ns)
        return state
    if state.held_unix_ns:
        # For as long as operators want: they can cancel it.
        return state
    if state.phase == "queued":
        if now_unix_ns < state.deadline_unix_ns:
            return state
        return give_up(state, "failed", f"it had no turn within a day: {state.waits}", now_unix_ns)
    if now_unix_ns >= state.expires_unix_ns:
        seconds = state.request.budget.seconds
        return give_up(
            state, "failed", f"the budget of {seconds} s ran out while {state.phase}", now_unix_ns
        )
    if now_unix_ns < state.deadline_unix_ns:
        return state
    if state.phase == "deploying":
        return rollout.on_deadline(state, now_unix_ns)
    if state.phase == "planning" and state.generation:
        return without_its_mind(state, now_unix_ns)
    return give_up(state, "failed", f"{_waited_for(state)} did not answer in time", now_unix_ns)


def _waited_for(state: Optimization) -> str:
    match state.phase:
        case "profiling":
            return f"the observer on {state.canary}"
        case "planning":
            return "the planner's mind"
        case "building":
            return "the gate"
        case "trying":
            trial = state.trials[-1]
            ended = trial.ended is not None
            return "the learner's judge" if ended else f"the executor on {state.canary}"
        case _:
            return rollout.waited_for(state)
