"""What runs where: hosts now, the rollout's steps, and what was counted there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cli.explaining.model import Placed, Step
from cli.hosts import runs
from services.planner.machine.rollout import usages

if TYPE_CHECKING:
    from cli.explaining.known import Known


def hosts(known: Known) -> list[Placed]:
    """Each host of the optimization, in its order."""
    return [_placed(known, host) for host in known.record.hosts]


def _placed(known: Known, host: str) -> Placed:
    record, life = known.record, known.life
    state = known.states.get(host)
    deployed = life.deployed.get(host) or record.deployments.get(host)
    confirmed = life.confirmed.get(host)
    problems = [each.problem for each in (deployed, confirmed) if each is not None]
    return Placed(
        host=host,
        role=_role(known, host),
        runs=runs(state).plain if state is not None else "",
        has_it=state is not None
        and state.ours
        and (state.purpose, state.optimization) == ("deployed", record.id),
        deployed=deployed is not None and deployed.problem is None,
        confirmed=host in record.confirmed or (confirmed is not None and not confirmed.problem),
        problem=next((problem for problem in problems if problem is not None), None),
        reverted=next((each.reason for each in life.reverted if each.host == host), ""),
        counters=confirmed.counters if confirmed is not None else {},
    )


def _role(known: Known, host: str) -> Literal["canary", "rollout", "control", "target"]:
    record = known.record
    if host == record.canary:
        return "canary"
    if host in record.control:
        return "control"
    if any(host in cohort.hosts for cohort in record.cohorts):
        return "rollout"
    return "target"


def steps(known: Known) -> list[Step]:
    """The rollout's cohorts, the canary's first."""
    record = known.record
    return [
        Step(
            number=number,
            hosts=cohort.hosts,
            stage=cohort.stage,
            weighed=cohort.weighed,
            treated=usages(record, cohort.hosts, number),
            control=usages(record, record.control, number),
        )
        for number, cohort in enumerate(record.cohorts)
    ]
