"""From a client's question to optimizations that wait for their turn, or to the reason why not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from services.planner.machine import accept
from services.planner.request import (
    check_not_frozen,
    check_not_retired,
    check_policies,
    check_rollout,
    new_ids,
    open_optimization,
)
from services.planner.spans import Renewal, request_span
from services.planner.targets import Fleet, check_free, choose
from services.planner.tenants import check_beside, unguarded
from shared.errors import CoxswainError, RequestError
from shared.fingerprint import key
from shared.messages import AcceptedPart, CancelRequest, OptimizeReply, OptimizeRequest
from shared.metrics import declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.planner.company import Company
    from services.planner.hosts import Hosts
    from services.planner.lives import Lives
    from services.planner.queue import Queue
    from services.planner.targets import Choice, Targets
    from services.planner.turns import Turns
    from shared.bus import Bus
    from shared.bus.serve import Inquiry
    from shared.fleet import Orders
    from shared.messages import Fingerprint, Inventory
    from shared.optimization import Optimization
    from shared.policies import Catalogue as Policies
    from shared.telemetry import Telemetry
    from shared.workloads import Catalogue, Workload

MOST_LEFT_OUT = 200
"""Hosts that a reply says are left out: a reply must fit into one message."""

log = structlog.get_logger(__name__)


class Accepting:
    """Answers requests."""

    def __init__(
        self,
        telemetry: Telemetry,
        workloads: Catalogue,
        policies: Policies,
        lives: Lives,
        queue: Queue,
        turns: Turns,
        hosts: Hosts,
        company: Company,
    ) -> None:
        self._telemetry = telemetry
        self._workloads = workloads
        self._policies = policies
        self._lives = lives
        self._queue = queue
        self._turns = turns
        self._hosts = hosts
        self._company = company

    async def serve(self, bus: Bus) -> None:
        """Answer on the bus."""
        await bus.serve_asked(
            bus.subjects.optimize,
            OptimizeRequest,
            self._accept,
            queue="planner",
            refuse=lambda problem: OptimizeReply(accepted=False, problem=problem),
        )

    async def _accept(self, request: OptimizeRequest, inquiry: Inquiry) -> OptimizeReply:
        self._lives.check()
        workload = self._workloads[request.workload]
        choice, fleet, orders = await self._choose(request)
        if not request.wait:
            check_free([host for group in choice.groups for host in group.hosts], fleet)
            check_not_frozen(orders)
        groups = choice.groups
        ids = new_ids(time.time_ns(), len(groups))
        opened = await self._open(
            request, inquiry.sha256, workload, dict(zip(ids, groups, strict=True)), fleet.known
        )
        return await self._begun(request, choice, opened)

    async def renew(self, of: Optimization, identity: str, because: str) -> str:
        """Open what a client has asked for once more, under this id, on the hosts that had it.

        It waits for its turn like any other. Raises CoxswainError: what was possible then may
        not be any more; ConflictError for an id that is there already.
        """
        self._lives.check()
        request = replace(of.request, hosts=of.hosts, wait=True)
        choice, fleet, _ = await self._choose(request)
        group = next(each for each in choice.groups if of.canary in each.hosts)
        opened = await self._open(
            request,
            of.request_sha256,
            self._workloads[request.workload],
            {identity: group},
            fleet.known,
            Renewal(of, because),
        )
        await self._begun(request, choice, opened)
        return identity

    async def _choose(self, request: OptimizeRequest) -> tuple[Choice, Fleet, Orders]:
        """Who would take part, of the fleet as it is now."""
        check_policies(request, self._policies)
        check_beside(request)
        check_rollout(request)
        known = await self._hosts.known(request.hosts)
        await self._hosts.presence.wait_for(request.hosts or known)
        orders = await self._turns.orders()
        check_not_retired(request, self._policies.without(orders.retired))
        fleet = Fleet(
            known=known,
            busy=await self._queue.busy(),
            silent={name: self._hosts.presence.missing(name) for name in request.hosts or known},
            held_back=self._hosts.held_back(),
            drained=orders.drained,
            meant=await self._meant(request.select.fingerprint),
        )
        return choose(request, fleet), fleet, orders

    async def _begun(
        self, request: OptimizeRequest, choice: Choice, opened: Sequence[Optimization]
    ) -> OptimizeReply:
        """Let what was opened take its first step, and say what became of it."""
        for state in opened:
            await self._lives.step(state.id)
        await self._queue.take_turns({state.id for state in opened})
        parts = [
            AcceptedPart(
                optimization=state.id,
                hosts=state.hosts,
                waits=state.waits,
                beside=state.beside,
                unguarded=unguarded(state),
            )
            for state in (self._lives.get(each.id) or each for each in opened)
        ]
        for part in parts:
            log.info(
                "optimization.accepted",
                optimization=part.optimization,
                workload=request.workload,
                waits=part.waits,
            )
        waits = "; ".join(dict.fromkeys(part.waits for part in parts if part.waits))
        if waits and not request.wait:
            # Somebody was quicker, or all canaries are out: that could not be seen before.
            await self._take_back(opened, waits)
            raise RequestError(
                "the request cannot begin now",
                expected="a turn at once, because it does not wait",
                got=waits,
                advice="Ask again later, or let it wait.",
            )
        return OptimizeReply(
            accepted=True,
            optimization=parts[0].optimization,
            trace_id=opened[0].trace_id,
            hosts=parts[0].hosts,
            left_out=dict(list(choice.left_out.items())[:MOST_LEFT_OUT]),
            left_out_more=max(0, len(choice.left_out) - MOST_LEFT_OUT),
            waits=parts[0].waits,
            parts=parts,
        )

    async def _open(
        self,
        request: OptimizeRequest,
        request_sha256: str,
        workload: Workload,
        groups: Mapping[str, Targets],
        known: Mapping[str, Inventory],
        renewal: Renewal | None = None,
    ) -> list[Optimization]:
        """A record for each group, under its id, all in one trace.

        Each is a whole optimization that needs none of the others. A planner that dies between two
        of them leaves those that it has written, and any planner goes on with them: `cox
        optimizations` lists them. The client then has no answer, so it takes nothing for accepted;
        asking again begins where nobody works yet. An answer is given only once all are written,
        and where one of them cannot be, those before it are cancelled.
        """
        now = time.time_ns()
        parts = {identity: group.hosts for identity, group in groups.items()}
        company = {hosts[0]: await self._company.on(hosts[0], request) for hosts in parts.values()}
        opened: list[Optimization] = []
        try:
            with request_span(
                self._telemetry, request, workload.objective, parts, renewal
            ) as contexts:
                for identity, hosts in parts.items():
                    state = open_optimization(
                        request,
                        workload,
                        known,
                        hosts,
                        company[hosts[0]],
                        traceparent=contexts[identity],
                        identity=identity,
                        request_sha256=request_sha256,
                        now_unix_ns=now,
                    )
                    if renewal is not None:
                        state = replace(state, because=renewal.because, after=renewal.of.id)
                    state = accept(state, now)
                    await self._lives.open(state)
                    self._telemetry.metrics.count(declared.ACCEPTED)
                    opened.append(state)
        except CoxswainError as error:
            await self._take_back(opened, f"another part of its request failed: {error}")
            raise
        return opened

    async def _take_back(self, opened: Sequence[Optimization], reason: str) -> None:
        for state in opened:
            await self._lives.step(state.id, CancelRequest(optimization=state.id, reason=reason))

    async def _meant(self, fingerprint: str) -> Fingerprint | None:
        """What a key stands for; None for none. Raises RequestError for one that nobody has seen.

        A key is a hash, so what it is of stands in a record. All are read: selecting like this is
        rare, and no other place holds every fingerprint that an operator can see.
        """
        if not fingerprint:
            return None
        for state in await self._lives.read_all():
            seen = state.fingerprint
            if seen is not None and key(seen) == fingerprint:
                return seen
        raise RequestError(
            "unknown fingerprint",
            expected="the fingerprint of an optimization that has come as far as its profile",
            got=fingerprint,
            advice="`cox optimizations` lists them.",
        )
