"""Waiting for a turn, and standing still on an operator's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from services.planner.machine import rollout
from services.planner.machine.ending import give_up
from services.planner.machine.trying import next_trial
from services.planner.machine.writing import SLACK_S, command, enter, ns, progress
from services.planner.tenants import Tenancy
from shared.messages import ProfileCommand

if TYPE_CHECKING:
    from shared.optimization import Optimization


class Begin(msgspec.Struct, frozen=True):
    """Its hosts are its own; `fence` is the token that says so.

    `tenancy` is who is on its canary now; without one it is what it was when it was accepted.
    `evidence`: when the stream was made that its evidence goes into.
    """

    fence: int
    tenancy: Tenancy | None = None
    evidence: str = ""


class Refuse(msgspec.Struct, frozen=True):
    """It has its turn, and cannot be any more."""

    why: str


class Wait(msgspec.Struct, frozen=True):
    """It is not its turn yet."""

    why: str


class Hold(msgspec.Struct, frozen=True):
    """Begin nothing new: no trial, no cohort. What runs goes on to its end."""

    why: str


class Release(msgspec.Struct, frozen=True):
    """That reason to stand still is gone."""

    why: str


def on_begin(state: Optimization, news: Begin, now_unix_ns: int) -> Optimization:
    """The budget's clock starts, and the canary is profiled."""
    expires_unix_ns = now_unix_ns + ns(state.request.budget.seconds)
    state = replace(
        state,
        fence=news.fence,
        evidence=news.evidence,
        waits="",
        expires_unix_ns=expires_unix_ns,
    )
    if news.tenancy is not None:
        state = replace(state, **msgspec.structs.asdict(news.tenancy))
    beside = [each.workload for each in state.beside]
    state = command(
        state,
        "observer",
        "profile",
        state.canary,
        ProfileCommand(
            optimization=state.id,
            workload=state.request.workload,
            seed=state.request.seed,
            beside=beside,
            expires_unix_ns=state.expires_unix_ns,
        ),
    )
    wait_s = state.timeout_s + SLACK_S
    company = f" with {', '.join(beside)} beside {state.request.workload}" if beside else ""
    return enter(state, "profiling", wait_s, now_unix_ns, f"observing {state.canary}{company}")


def on_refuse(state: Optimization, news: Refuse, now_unix_ns: int) -> Optimization:
    """What was possible when it was accepted is not any more."""
    return give_up(state, "failed", news.why, now_unix_ns)


def on_wait(state: Optimization, news: Wait) -> Optimization:
    """Say for what, once."""
    if state.waits == news.why:
        return state
    return progress(replace(state, waits=news.why), f"waiting: {news.why}")


def on_hold(state: Optimization, news: Hold) -> Optimization:
    """One more reason to stand still."""
    if news.why in state.holds:
        return state
    state = replace(state, holds=[*state.holds, news.why])
    return progress(state, f"{news.why}: nothing new begins")


def on_release(state: Optimization, news: Release, now_unix_ns: int) -> Optimization:
    """One reason less; with the last one it goes on, and the time that was lost is given back."""
    if news.why not in state.holds:
        return state
    state = replace(state, holds=[each for each in state.holds if each != news.why])
    state = progress(state, f"not {news.why} any more")
    if state.holds or not state.held_unix_ns:
        return state
    lost_ns = now_unix_ns - state.held_unix_ns
    state = replace(state, held_unix_ns=0, expires_unix_ns=state.expires_unix_ns + lost_ns)
    return (
        rollout.next_cohort(state, now_unix_ns) if state.cohorts else next_trial(state, now_unix_ns)
    )
