"""Operators' orders: cancel, pause, resume one optimization; freeze the fleet, drain a host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from services.planner.machine import Hold, Release
from services.planner.queue import PAUSED
from shared.errors import RequestError
from shared.messages import (
    CancelRequest,
    DrainRequest,
    FreezeRequest,
    PauseRequest,
    Reply,
    ResumeRequest,
)

if TYPE_CHECKING:
    from services.planner.hosts import Hosts
    from services.planner.lives import Lives
    from services.planner.queue import Queue
    from services.planner.turns import Turns
    from shared.bus import Bus
    from shared.fleet import Orders as Standing
    from shared.optimization import Optimization

log = structlog.get_logger(__name__)


class Orders:
    """Carries out what operators say."""

    def __init__(self, lives: Lives, queue: Queue, turns: Turns, hosts: Hosts) -> None:
        self._lives = lives
        self._queue = queue
        self._turns = turns
        self._hosts = hosts

    async def serve(self, bus: Bus) -> None:
        """Answer on the bus."""
        for name, kind, answer in (
            ("cancel", CancelRequest, self._cancel),
            ("pause", PauseRequest, self._pause),
            ("resume", ResumeRequest, self._resume),
            ("freeze", FreezeRequest, self._freeze),
            ("drain", DrainRequest, self._drain),
        ):
            await bus.serve(bus.subjects.endpoint("planner", name), kind, answer, queue="planner")

    async def _cancel(self, request: CancelRequest) -> Reply:
        await self._alive(request.optimization)
        await self._lives.step(request.optimization, request)
        return Reply()

    async def _pause(self, request: PauseRequest) -> Reply:
        await self._alive(request.optimization)
        await self._lives.step(request.optimization, Hold(PAUSED))
        return Reply()

    async def _resume(self, request: ResumeRequest) -> Reply:
        state = await self._alive(request.optimization)
        if PAUSED not in state.holds:
            raise RequestError(
                f"{request.optimization} is not paused",
                got=", ".join(state.holds) or "it goes on",
                advice="A frozen fleet goes on with `cox unfreeze`." if state.holds else "",
            )
        await self._lives.step(request.optimization, Release(PAUSED))
        return Reply()

    async def _freeze(self, request: FreezeRequest) -> Reply:
        reason = request.reason if request.frozen else ""
        orders = await self._turns.order(
            lambda orders: replace(orders, frozen=request.frozen, reason=reason)
        )
        # Not only those that this instance has heard of: the answer says that it holds.
        await self._lives.read_all()
        await self._queue.obey(orders)
        log.info("fleet.frozen" if request.frozen else "fleet.unfrozen", reason=reason)
        return Reply()

    async def _drain(self, request: DrainRequest) -> Reply:
        known = await self._hosts.known([request.host])
        if request.host not in known:
            raise RequestError(
                "unknown host",
                expected=f"one of {', '.join(sorted(known)) or '(no host has joined yet)'}",
                got=request.host,
                advice="`cox hosts` lists them.",
            )

        def change(orders: Standing) -> Standing:
            others = {h: why for h, why in orders.drained.items() if h != request.host}
            more = {request.host: request.reason} if request.drained else {}
            return replace(orders, drained={**others, **more})

        await self._turns.order(change)
        return Reply()

    async def _alive(self, identity: str) -> Optimization:
        """One that is not over. Raises RequestError."""
        state = await self._lives.read(identity)
        if state is None:
            raise RequestError(
                "unknown optimization",
                expected="an id as `cox optimizations` lists them",
                got=repr(identity),
            )
        if state.over:
            raise RequestError(f"{identity} is over already", got=str(state.terminal))
        return state
