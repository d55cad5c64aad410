"""Following one optimization to its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from cli.follow.facts import Silence, follow
from cli.follow.life import Life
from shared.errors import CoxswainError, RemoteError, RequestError
from shared.messages import CancelRequest, Progress, Reply
from shared.optimization import Optimization

if TYPE_CHECKING:
    from cli.follow.facts import Fact
    from cli.follow.views import View
    from shared.bus import Bus

LOOKS_FOR_RECORD = 3
"""After so many silent seconds the record is read: it tells the end if no event did."""
CANCEL_S = 5.0


class Follower:
    """Takes events until the optimization is over; `life` is what they add up to."""

    def __init__(self, bus: Bus, optimization: str, view: View) -> None:
        self.life = Life()
        self.record: Optimization | None = None
        self._bus = bus
        self._optimization = optimization
        self._view = view
        self._connected = True
        self._silent = 0

    async def run(self) -> None:
        """Follow until the end."""
        async with contextlib.aclosing(follow(self._bus, self._optimization)) as facts:
            async for fact in facts:
                if isinstance(fact, Silence):
                    await self._on_silence(fact)
                    # The record is ahead of the events: it counts when all of them were told.
                    over = fact.complete and self.record is not None and self.record.over
                else:
                    await self._on_fact(fact)
                    over = self.life.ended is not None
                if over:
                    break
        await self._read_record()

    async def cancel(self) -> None:
        """Ask the planner to end it, unless it has ended; what comes of that is told."""
        if self.life.ended is not None:
            return
        self._view.say("cancelling; the hosts go back to what ran. Ctrl-C again leaves at once.")
        try:
            await cancel(self._bus, self._optimization, "Ctrl-C")
        except CoxswainError as error:
            self._view.say(f"could not cancel: {error}", "red")

    async def _on_fact(self, fact: Fact) -> None:
        self._silent = 0
        self._link(connected=True)
        if self.record is None or isinstance(fact.message, Progress):
            await self._read_record()
        self.life.take(fact)
        self._view.fact(fact, self.life, self.record)

    async def _on_silence(self, silence: Silence) -> None:
        self._link(connected=silence.connected)
        self._silent += 1
        if silence.complete and self._silent % LOOKS_FOR_RECORD == 0:
            await self._read_record()
            if self.record is None and self.life.accepted is None:
                raise RequestError(
                    "unknown optimization",
                    expected="an id as `cox optimizations` lists them",
                    got=repr(self._optimization),
                )

    def _link(self, *, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            self._view.link(connected=connected)

    async def _read_record(self) -> None:
        # The record is a help; events go on without it while the bus has trouble.
        with contextlib.suppress(NatsError, APIError, TimeoutError, CoxswainError):
            records = await self._bus.records("optimizations", Optimization)
            found = await records.get(self._optimization)
            if found is not None:
                self.record = found.value


async def cancel(bus: Bus, optimization: str, reason: str) -> None:
    """Ask the planner to end an optimization. Raises RemoteError if it is unknown or over."""
    reply = await bus.ask(
        bus.subjects.endpoint("planner", "cancel"),
        CancelRequest(optimization=optimization, reason=reason),
        Reply,
        timeout_s=CANCEL_S,
    )
    if reply.problem is not None:
        raise RemoteError(reply.problem)
