"""From a client's request to an optimization: is it possible, and in what budget."""

from __future__ import annotations

import secrets
import string
import time
import uuid
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from services.planner.hearing import heard
from shared.errors import RequestError
from shared.optimization import Optimization

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from services.planner.tenants import Tenancy
    from shared.fleet import Orders
    from shared.messages import Inventory, OptimizeRequest
    from shared.workloads import Workload

MIN_ROUNDS = 8


def new_ids(now_unix_ns: int, count: int) -> list[str]:
    """Ids of one request's optimizations: they sort by time, and two in one second differ.

    Several have a letter more, in their order, so that one can see that they belong together.
    """
    stamp = time.strftime("%m%d-%H%M%S", time.gmtime(now_unix_ns / 1e9))
    base = f"o{stamp}-{uuid.uuid4().hex[:6]}"
    if count == 1:
        return [base]
    return [f"{base}-{letter}" for letter in string.ascii_lowercase[:count]]


def check_policies(request: OptimizeRequest, known: Collection[str]) -> None:
    """Raise RequestError for a policy that does not exist."""
    unknown = sorted(set(request.policies) - set(known))
    if unknown:
        raise RequestError(
            "unknown policy",
            expected=f"one of {', '.join(sorted(known))}",
            got=", ".join(unknown),
            advice="`cox policies` lists them.",
        )


def check_not_retired(request: OptimizeRequest, left: Collection[str]) -> None:
    """Raise RequestError if operators have left none of the policies that it names."""
    if request.policies and set(request.policies).isdisjoint(left):
        raise RequestError(
            "operators have retired every policy that the request names",
            expected=f"one of {', '.join(sorted(left)) or '(none is left)'}",
            got=", ".join(request.policies),
            advice="`cox policies` says why; `cox policies promote` takes it back.",
        )


def check_budget(request: OptimizeRequest, round_s: float) -> None:
    """Raise RequestError if the fewest rounds that can decide do not fit into the seconds."""
    needed_s = MIN_ROUNDS * 2 * round_s
    if request.budget.seconds < needed_s:
        raise RequestError(
            "the budget contradicts itself",
            expected=f"at least {needed_s:.0f} s: {MIN_ROUNDS} pairs of runs of {round_s:.0f} s",
            got=f"{request.budget.seconds} s",
            advice="Give more seconds, or take a workload with shorter rounds.",
        )


def check_rollout(request: OptimizeRequest) -> None:
    """Raise RequestError for steps that do not rise to all, or soaks longer than the budget."""
    steps = request.rollout.cohorts
    if list(steps) != sorted(set(steps)) or steps[-1] != 100:
        raise RequestError(
            "the rollout's cohorts contradict each other",
            expected="percentages that rise to 100, such as [10, 50, 100]",
            got=str(list(steps)),
            advice="Each is how much of the fleet has the candidate when that step is done.",
        )
    soaking_s = (len(steps) + 1) * request.rollout.soak_s
    if soaking_s >= request.budget.seconds:
        raise RequestError(
            "the budget contradicts the rollout",
            expected=f"more than {soaking_s:.0f} s: the canary and {len(steps)} cohorts soak "
            f"for {request.rollout.soak_s:.0f} s each",
            got=f"{request.budget.seconds} s",
            advice="Give more seconds, fewer cohorts or shorter soaks.",
        )


def check_not_frozen(orders: Orders) -> None:
    """Raise RequestError in a frozen fleet: for requests that do not wait."""
    if orders.frozen:
        raise RequestError(
            "the fleet is frozen",
            expected="a fleet in which work may begin",
            got=orders.reason or "no reason was given",
            advice="Wait for `cox unfreeze`, or let the request wait.",
        )


def open_optimization(
    request: OptimizeRequest,
    workload: Workload,
    inventories: Mapping[str, Inventory],
    hosts: list[str],
    tenancy: Tenancy,
    *,
    traceparent: str,
    identity: str,
    request_sha256: str = "",
    now_unix_ns: int,
) -> Optimization:
    """The record of a request that is possible on these hosts, before its first step."""
    if request.hosts:
        # Those of other kinds are other records' business, and may be thousands.
        request = replace(request, hosts=hosts)
    objective = workload.objective
    if request.least_effect is not None:
        objective = replace(objective, least_effect=request.least_effect)
    return Optimization(
        id=identity,
        request=request,
        traceparent=traceparent,
        created_unix_ns=now_unix_ns,
        at_unix_ns=now_unix_ns,
        expires_unix_ns=now_unix_ns + request.budget.seconds * 1_000_000_000,
        phase="queued",
        deadline_unix_ns=0,
        hosts=hosts,
        canary=hosts[0],
        inventories={name: heard(inventories[name]) for name in hosts},
        objective=objective,
        request_sha256=request_sha256,
        secret=secrets.token_hex(8),
        **msgspec.structs.asdict(tenancy),
    )
