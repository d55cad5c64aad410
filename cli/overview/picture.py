"""What the page says. Pure, and without ages: it is another one only when something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cli.optimizations import Summary, summary
from shared.messages import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.hosts import Host
    from shared.messages import SchedulerState
    from shared.optimization import Optimization

RECENT = 3
"""How many that are over are shown."""


class Runs(msgspec.Struct, frozen=True, kw_only=True):
    """What schedules a host."""

    ops: str
    """Empty under the kernel's default."""
    ours: bool
    policy: str
    parameters: dict[str, int]
    purpose: str
    optimization: str


class HostNow(msgspec.Struct, frozen=True, kw_only=True):
    """A host; ready if nothing stands in the way of steering it, and it is not drained."""

    host: str
    ready: bool
    obstacles: list[str]
    drained: str | None
    """Why operators want nothing new there, empty for no reason; None where they do not mind."""
    runs: Runs | None
    """None while its executor has not told."""
    guarded: bool = True
    breaker: str = "closed"
    """Open after too much trouble: its executor loads nothing until `breaker_until_unix_ns`."""
    breaker_until_unix_ns: int = 0
    breaker_why: str = ""
    quarantined: list[str] = []
    """Artifacts that did harm there and are not loaded again for now."""


class TrialNow(msgspec.Struct, frozen=True, kw_only=True):
    """A trial that goes on. The figures are the judge's; there are none before the first round."""

    trial: str
    host: str
    stage: str
    policy: str
    pairs: int
    max_pairs: int
    verdict: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """An optimization that is not over, and how much of its budget is gone."""

    optimization: str
    workload: str
    beside: list[str]
    """Workloads that run at the same time."""
    hosts: list[str]
    phase: str
    trial: TrialNow | None
    direction: str
    """Which way its objective gets better."""
    deployed: list[str]
    """Hosts that run the winner so far."""
    rounds: int
    budget_rounds: int
    budget_seconds: int
    created_unix_ns: int
    expires_unix_ns: int
    cost: Cost
    because: str = ""
    """Why it was opened, if no client asked for it just then."""


class Picture(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """The fleet now. `connected` is false while the bus is away: then all this is from before."""

    connected: bool
    hosts: list[HostNow]
    optimizations: list[Live]
    ended: list[Summary]
    """The newest ones that are over."""
    dead_letters: int


def compose(
    hosts: Iterable[Host],
    optimizations: Iterable[Optimization],
    *,
    dead_letters: int,
    connected: bool = True,
) -> Picture:
    """The picture of what the bus said."""
    states = sorted(optimizations, key=lambda state: state.created_unix_ns)
    over = [state for state in states if state.over]
    over.sort(key=lambda state: state.ended_unix_ns, reverse=True)
    return Picture(
        connected=connected,
        hosts=[_host(host) for host in hosts],
        optimizations=[_live(state) for state in states if not state.over],
        ended=[summary(state) for state in over[:RECENT]],
        dead_letters=dead_letters,
    )


def _host(host: Host) -> HostNow:
    state = host.scheduler
    runs = None
    if state is not None:
        runs = Runs(
            ops=state.ops,
            ours=state.ours,
            policy=state.policy,
            parameters=state.parameters,
            purpose=state.purpose,
            optimization=state.optimization,
        )
    return HostNow(
        host=host.host,
        ready=not host.hindrances,
        obstacles=host.obstacles,
        drained=host.drained,
        runs=runs,
        **_safeguards(state),
    )


def _safeguards(state: SchedulerState | None) -> dict[str, Any]:
    if state is None:
        return {}
    return {
        "guarded": state.guarded,
        "breaker": state.breaker,
        "breaker_until_unix_ns": state.breaker_until_unix_ns,
        "breaker_why": state.breaker_why,
        "quarantined": state.quarantined,
    }


def _live(state: Optimization) -> Live:
    return Live(
        optimization=state.id,
        workload=state.request.workload,
        beside=[each.workload for each in state.beside],
        hosts=state.hosts,
        phase=state.phase,
        trial=_trial(state),
        direction=state.objective.direction,
        deployed=[host for host, done in state.deployments.items() if done.problem is None],
        rounds=state.rounds_used,
        budget_rounds=state.request.budget.rounds,
        budget_seconds=state.request.budget.seconds,
        created_unix_ns=state.created_unix_ns,
        expires_unix_ns=state.expires_unix_ns,
        cost=_total(state.costs.values()),
        because=state.because,
    )


def _trial(state: Optimization) -> TrialNow | None:
    if state.phase != "trying" or not state.trials:
        return None
    trial = state.trials[-1]
    word = trial.decision or trial.judged
    now = TrialNow(
        trial=trial.trial,
        host=trial.host,
        stage=trial.spec.stage,
        policy=trial.candidate.policy,
        pairs=trial.pairs,
        max_pairs=trial.spec.max_pairs,
    )
    if word is None:
        return now
    return msgspec.structs.replace(
        now, verdict=word.verdict, ratio=word.ratio, low=word.low, high=word.high
    )


def _total(costs: Iterable[Cost]) -> Cost:
    costs = list(costs)
    return Cost(
        wall_s=sum(cost.wall_s for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
        tokens=sum(cost.tokens for cost in costs),
        dollars=sum(cost.dollars for cost in costs),
    )
