"""Rolling a promoted candidate out: the canary, then cohort after cohort.

    placing → soaking → confirming → weighing → done

A cohort's hosts get it a few at a time. When the last one runs it, all of them soak. Then every
host looks once more whether its kernel still runs it, and where hosts were held out the learner
compares: do tasks wait more than they did, and more than they do on the control? The first no
of anybody, or silence, halts the rollout and takes every host back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from services.planner.cohorts import assign
from services.planner.machine.ending import finish, give_up
from services.planner.machine.losses import by_promotion
from services.planner.machine.writing import SECOND_NS, command, enter, ns, stand_still
from shared.messages import (
    ConfirmCommand,
    DeployCommand,
    HostUsage,
    ProbeCommand,
    Usage,
    WeighCommand,
)
from shared.optimization import CohortRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.planner.cohorts import Assignment
    from shared.messages import Confirmed, Deployed, ExitRecord, Probed, Reverted, Vitals, Weighed
    from shared.optimization import Optimization

DEPLOY_S = 90.0
CONFIRM_S = 90.0
WEIGH_S = 60.0
SETTLE_S = 1.0
"""A host that loses its scheduler at once says so in its first answer."""
IN_FLIGHT = 4
"""So many hosts of a cohort switch at the same time: no service loses all of its hosts to the
moment in which the kernel changes its scheduler."""

BEGIN, END = "before-0", "before-1"
"""Marks of the window in which no host but the canary has seen a candidate."""


def look_before(state: Optimization) -> Optimization:
    """While the canary tries candidates the others show how they do without one."""
    planned = _assignment(state)
    return _probe(state, _compared(planned), BEGIN) if planned.control else state


def begin(state: Optimization, now_unix_ns: int) -> Optimization:
    """There is a winner: draw the cohorts, and let the canary have it for good."""
    planned = _assignment(state)
    state = replace(
        state,
        cohorts=[CohortRecord(hosts=hosts) for hosts in ([state.canary], *planned.cohorts)],
        control=planned.control,
    )
    if planned.control:
        state = _probe(state, _compared(planned), END)
    return next_cohort(state, now_unix_ns)


def next_cohort(state: Optimization, now_unix_ns: int) -> Optimization:
    """The first cohort that waits, or the end."""
    winner = state.winner
    assert winner is not None
    number = _number(state, "waiting")
    if number is None:
        decision = winner.decision
        assert decision is not None
        held_out = f"held out as control: {', '.join(state.control)}" if state.control else ""
        told = "; ".join(decision.reasons)
        return finish(state, "promoted", told, now_unix_ns, held_out, *by_promotion(state))
    if state.holds:
        return stand_still(state, now_unix_ns)
    cohort = state.cohorts[number]
    state = _update(state, number, replace(cohort, stage="placing", began_unix_ns=now_unix_ns))
    text = f"{winner.candidate.policy} to {_name(state, number)}: {', '.join(cohort.hosts)}"
    state = enter(state, "deploying", DEPLOY_S, now_unix_ns, text)
    for _ in cohort.hosts[:IN_FLIGHT]:
        state = _ask_next(state, number, now_unix_ns)
    return state


def on_deployed(state: Optimization, news: Deployed, now_unix_ns: int) -> Optimization:
    """A host has it, or not: the next one's turn, or the cohort's soak."""
    number = _number(state, "placing")
    if number is None or news.host in state.deployments or news.host not in _asked(state, number):
        return state
    # The kernel's own words stay in the event: the record has to hold a whole fleet.
    kept = replace(news, state=None)
    state = replace(state, deployments={**state.deployments, news.host: kept})
    if news.problem is not None:
        reason = f"deploying to {news.host} failed: {news.problem}"
        return _halt(state, news.exit_record, reason, now_unix_ns)
    cohort = state.cohorts[number]
    if cohort.asked < len(cohort.hosts):
        return _ask_next(state, number, now_unix_ns)
    if any(host not in state.deployments for host in cohort.hosts):
        return state
    soak_s = state.request.rollout.soak_s
    state = _update(state, number, replace(cohort, stage="soaking"))
    if _is_compared(state, number):
        state = _probe(state, [*cohort.hosts, *state.control], f"soak-{number}-0")
    text = f"{_name(state, number)} soaks for {soak_s:g} s"
    return enter(state, "deploying", soak_s, now_unix_ns, text)


def on_deadline(state: Optimization, now_unix_ns: int) -> Optimization:
    """Time is over for what the cohort does: a soak ends like that, everything else fails."""
    number = _number(state, "soaking")
    if number is not None:
        return _confirm(state, number, now_unix_ns)
    number = _number(state, "confirming")
    if number is not None and not _unconfirmed(state, number):
        # Only counters are missing: the comparison has to do without those hosts.
        return _weigh(state, number, now_unix_ns)
    whom = waited_for(state)
    return give_up(state, "failed", f"{whom} did not answer in time", now_unix_ns)


def waited_for(state: Optimization) -> str:
    """Who has not answered yet, in words."""
    number = _number(state, "placing")
    if number is not None:
        silent = [h for h in _asked(state, number) if h not in state.deployments]
        return f"the executor on {', '.join(silent)}"
    number = _number(state, "confirming")
    if number is not None:
        return f"the executor on {', '.join(_unconfirmed(state, number))}"
    return "the learner's judge"


def on_confirmed(state: Optimization, news: Confirmed, now_unix_ns: int) -> Optimization:
    """A host's last word on its cohort's soak."""
    number = _number(state, "confirming")
    if number is None or news.host not in _unconfirmed(state, number):
        return state
    if news.problem is not None:
        reason = f"{news.host} has not kept it: {news.problem}"
        return _halt(state, news.exit_record, reason, now_unix_ns)
    state = replace(state, confirmed=[*state.confirmed, news.host])
    return _weigh_if_all_said(state, number, now_unix_ns)


def on_reverted(state: Optimization, news: Reverted, now_unix_ns: int) -> Optimization:
    """A host fell back by itself while the others still get the candidate."""
    if not any(news.host in cohort.hosts[: cohort.asked] for cohort in state.cohorts):
        return state
    reason = f"{news.host} fell back to the default: {news.reason}"
    return _halt(state, news.exit_record, reason, now_unix_ns)


def on_probed(state: Optimization, news: Probed, now_unix_ns: int) -> Optimization:
    """A host's counters; the first answer for a mark counts."""
    known = state.vitals.get(news.host, {})
    if news.host not in state.hosts or news.mark in known:
        return state
    vitals = {**state.vitals, news.host: {**known, news.mark: news.vitals}}
    state = replace(state, vitals=vitals)
    number = _number(state, "confirming")
    return state if number is None else _weigh_if_all_said(state, number, now_unix_ns)


def on_weighed(state: Optimization, news: Weighed, now_unix_ns: int) -> Optimization:
    """The judge's word on a step: worse than the control ends the rollout."""
    number = _number(state, "weighing")
    if number is None or news.cohort != number:
        return state
    state = _update(state, number, replace(state.cohorts[number], weighed=news))
    if news.verdict == "worse":
        reason = f"{_name(state, number)} does worse than the control: {'; '.join(news.reasons)}"
        return give_up(replace(state, harm=reason), "kept-default", reason, now_unix_ns)
    return _done(state, number, now_unix_ns)


# --- The steps of a step -----------------------------------------------------------------------


def _ask_next(state: Optimization, number: int, now_unix_ns: int) -> Optimization:
    winner, cohort = state.winner, state.cohorts[number]
    assert winner is not None
    state = command(
        state,
        "executor",
        "deploy",
        cohort.hosts[cohort.asked],
        DeployCommand(
            optimization=state.id,
            workloads=[state.request.workload, *(each.workload for each in state.beside)],
            policy=winner.candidate.policy,
            version=winner.candidate.version,
            parameters=winner.candidate.parameters,
            artifact=winner.artifact,
            soak_s=SETTLE_S,
            lease_s=state.request.rollout.lease_s,
            fence=state.fence,
            expires_unix_ns=state.expires_unix_ns,
            request_sha256=state.request_sha256,
        ),
    )
    state = _update(state, number, replace(cohort, asked=cohort.asked + 1))
    return replace(state, deadline_unix_ns=now_unix_ns + ns(DEPLOY_S))


def _confirm(state: Optimization, number: int, now_unix_ns: int) -> Optimization:
    cohort = state.cohorts[number]
    state = _update(state, number, replace(cohort, stage="confirming"))
    for host in cohort.hosts:
        message = ConfirmCommand(optimization=state.id, expires_unix_ns=state.expires_unix_ns)
        state = command(state, "executor", "confirm", host, message)
    if _is_compared(state, number):
        state = _probe(state, [*cohort.hosts, *state.control], f"soak-{number}-1")
    text = f"{_name(state, number)} has soaked: still there?"
    return enter(state, "deploying", CONFIRM_S, now_unix_ns, text)


def _weigh_if_all_said(state: Optimization, number: int, now_unix_ns: int) -> Optimization:
    if _unconfirmed(state, number):
        return state
    if _is_compared(state, number):
        hosts = [*state.cohorts[number].hosts, *state.control]
        if any(f"soak-{number}-1" not in state.vitals.get(host, {}) for host in hosts):
            return state
    return _weigh(state, number, now_unix_ns)


def _weigh(state: Optimization, number: int, now_unix_ns: int) -> Optimization:
    if not _is_compared(state, number):
        return _done(state, number, now_unix_ns)
    cohort = state.cohorts[number]
    state = _update(state, number, replace(cohort, stage="weighing"))
    message = WeighCommand(
        optimization=state.id,
        cohort=number,
        treated=usages(state, cohort.hosts, number),
        control=usages(state, state.control, number),
        comparisons=len(state.cohorts) - 1,
    )
    state = command(state, "learner", "weigh", None, message)
    text = f"{_name(state, number)} against {len(state.control)} held out"
    return enter(state, "deploying", WEIGH_S, now_unix_ns, text)


def _done(state: Optimization, number: int, now_unix_ns: int) -> Optimization:
    state = _update(state, number, replace(state.cohorts[number], stage="done"))
    return next_cohort(state, now_unix_ns)


def _halt(
    state: Optimization, left: ExitRecord | None, reason: str, now_unix_ns: int
) -> Optimization:
    """A host lost it. Only a fault of the candidate itself teaches something about it."""
    if left is not None and left.verdict == "fault":
        state = replace(state, harm=reason)
    return give_up(state, "failed", reason, now_unix_ns)


# --- Counters ----------------------------------------------------------------------------------


def usages(state: Optimization, hosts: Iterable[str], number: int) -> list[HostUsage]:
    """Of hosts whose counters are all there, and count from the same boot."""
    found = []
    for host in hosts:
        marks = state.vitals.get(host, {})
        before = _usage(marks.get(BEGIN), marks.get(END))
        soaking = _usage(marks.get(f"soak-{number}-0"), marks.get(f"soak-{number}-1"))
        if before is not None and soaking is not None:
            found.append(HostUsage(host=host, before=before, soaking=soaking))
    return found


def _usage(first: Vitals | None, last: Vitals | None) -> Usage | None:
    if first is None or last is None or first.boot_id != last.boot_id:
        return None
    return Usage(
        seconds=(last.at_ns - first.at_ns) / SECOND_NS,
        run_s=(last.run_ns - first.run_ns) / SECOND_NS,
        wait_s=(last.wait_ns - first.wait_ns) / SECOND_NS,
    )


def _probe(state: Optimization, hosts: Iterable[str], mark: str) -> Optimization:
    for host in hosts:
        message = ProbeCommand(
            optimization=state.id, mark=mark, expires_unix_ns=state.expires_unix_ns
        )
        state = command(state, "observer", "probe", host, message)
    return state


def _is_compared(state: Optimization, number: int) -> bool:
    """The canary alone is not: its own trial has said more than this could."""
    return number > 0 and bool(state.control)


# --- Small parts -------------------------------------------------------------------------------


def _assignment(state: Optimization) -> Assignment:
    return assign(state.id, state.hosts, state.canary, state.request.rollout)


def _compared(planned: Assignment) -> list[str]:
    return [host for hosts in (*planned.cohorts, planned.control) for host in hosts]


def _number(state: Optimization, stage: str) -> int | None:
    """The first cohort in this stage; of the later stages there is one at the most."""
    return next((n for n, each in enumerate(state.cohorts) if each.stage == stage), None)


def _asked(state: Optimization, number: int) -> list[str]:
    cohort = state.cohorts[number]
    return cohort.hosts[: cohort.asked]


def _unconfirmed(state: Optimization, number: int) -> list[str]:
    return [host for host in state.cohorts[number].hosts if host not in state.confirmed]


def _update(state: Optimization, number: int, cohort: CohortRecord) -> Optimization:
    cohorts = [*state.cohorts]
    cohorts[number] = cohort
    return replace(state, cohorts=cohorts)


def _name(state: Optimization, number: int) -> str:
    return "the canary" if number == 0 else f"cohort {number} of {len(state.cohorts) - 1}"
