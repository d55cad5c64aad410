"""One standing request for work, which costs next to nothing while there is none.

A pull request waits at the server until there are messages for it. Ours waits for minutes, and
the server gives a sign now and then that it still knows of it: one that has been forgotten, with
a server of a cluster that died, is noticed by that silence and made again. A server that stands
alone cannot die without our connection, so it need not say much. nats-py's own `fetch` asks anew
every few seconds, which for a thousand idle hosts is most of what the bus has to do.

A consumer that is deleted refuses what stands, at once; a request that reaches it while it goes
is answered by nobody. `bus.footing` deals with the loss; here is asked again when it has found the
consumer back, and after a refusal now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import msgspec
import structlog

from shared.bus.away import AWAY

if TYPE_CHECKING:
    from types import TracebackType

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from shared.bus.connection import Bus

WAIT_S = 300.0
"""How long a request stands."""
CLUSTER_BEAT_S, ALONE_BEAT_S = 10.0, WAIT_S / 2.5
"""How often, for each consumer: ten thousand hosts have twenty thousand."""
SILENCE = 2.5
"""Beats that may be missed."""
PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
"""Before asking again when the server has refused: twice as long each time, or until there is
news of what was gone."""

HEARTBEAT = "100"
ENDED = ("404", "408")
"""No messages, or the request's time is over: nothing is wrong."""

log = structlog.get_logger(__name__)


class _Request(msgspec.Struct):
    """See `JSApiConsumerGetNextRequest` of nats-server; times in ns."""

    batch: int
    expires: int
    idle_heartbeat: int


class Pull:
    """A durable consumer's messages, in the context that it is."""

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = bus.nc.new_inbox()
        self._come: asyncio.Queue[Msg | None] = asyncio.Queue()
        """Messages, and None for a standing request that is void."""
        self._asked = 0
        """Messages that the standing request may still bring."""
        self._returns = 0
        """How often the consumer had been back when it was asked."""
        self._pause_s = PAUSE_S
        self._beat_s = CLUSTER_BEAT_S
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.nc.subscribe(self._inbox, cb=self._come.put)
        self._bus.on_return(self._forget)
        self._bus.footing.on_change(self._forget_lost)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bus.footing.on_change(self._forget_lost, no_more=True)
        self._bus.on_return(self._forget, no_more=True)
        with contextlib.suppress(*AWAY):
            if self._subscription is not None:
                await self._subscription.unsubscribe()

    async def next(self, room: int) -> Msg:
        """The next message; up to `room` of them may be on their way after this."""
        while True:
            if self._asked <= 0 and self._come.empty():
                await self._ask(room)
            try:
                async with asyncio.timeout(SILENCE * self._beat_s):
                    message = await self._come.get()
            except TimeoutError:
                log.warning("bus.pull_silent", consumer=self._consumer)
                self._asked = 0
                continue
            if message is None:
                self._asked = 0
                continue
            status = (message.headers or {}).get("Status", "")
            if status in {"", HEARTBEAT, *ENDED}:
                self._pause_s = PAUSE_S
            if not status:
                self._asked -= 1
                return message
            if status != HEARTBEAT:
                self._asked = 0
                if status not in ENDED:
                    await self._refused(message, status)

    async def _ask(self, room: int) -> None:
        self._beat_s = CLUSTER_BEAT_S if self._bus.clustered else ALONE_BEAT_S
        request = _Request(
            batch=room, expires=int(WAIT_S * 1e9), idle_heartbeat=int(self._beat_s * 1e9)
        )
        try:
            await self._bus.nc.publish(
                self._subject, msgspec.json.encode(request), reply=self._inbox
            )
        except AWAY as error:
            log.warning("bus.pull_failed", consumer=self._consumer, error=repr(error))
            await asyncio.sleep(PAUSE_S)
        else:
            self._asked = room
            self._returns = self._bus.footing.returns(self._stream, self._consumer)

    async def _refused(self, message: Msg, status: str) -> None:
        footing = self._bus.footing
        if not footing.is_lost(self._stream, self._consumer):
            said = (message.headers or {}).get("Description", "")
            log.warning("bus.pull_refused", consumer=self._consumer, status=status, said=said)
            footing.suspect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await footing.changed()
        # Between the news that it is gone and that it is back there is nothing to ask for.
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _forget(self) -> None:
        """The connection is back: the server has forgotten what was asked on the old one."""
        self._come.put_nowait(None)

    def _forget_lost(self) -> None:
        """The consumer is another one than was asked: that one's refusal may never have come."""
        if self._bus.footing.returns(self._stream, self._consumer) != self._returns:
            self._forget()
