"""One standing request for work, which costs next to nothing while there is none.

A pull request waits at the server until there are messages for it. Ours waits for minutes, and
the server gives a sign every BEAT_S that it still knows of it: one that has been forgotten, with
a server that died, is noticed by that silence and made again. nats-py's own `fetch` asks anew
every few seconds, which for a thousand idle hosts is most of what the bus has to do.
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
BEAT_S = 10.0
SILENCE_S = 2.5 * BEAT_S
PAUSE_S = 1.0
"""Before asking again when the server has refused."""

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
        self._consumer = consumer
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = bus.nc.new_inbox()
        self._come: asyncio.Queue[Msg | None] = asyncio.Queue()
        """Messages, and None for a connection that is back."""
        self._asked = 0
        """Messages that the standing request may still bring."""
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.nc.subscribe(self._inbox, cb=self._come.put)
        self._bus.on_return(self._forget)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
                async with asyncio.timeout(SILENCE_S):
                    message = await self._come.get()
            except TimeoutError:
                log.warning("bus.pull_silent", consumer=self._consumer)
                self._asked = 0
                continue
            if message is None:
                self._asked = 0
                continue
            status = (message.headers or {}).get("Status", "")
            if not status:
                self._asked -= 1
                return message
            if status != HEARTBEAT:
                self._asked = 0
                if status not in ENDED:
                    await self._refused(message, status)

    async def _ask(self, room: int) -> None:
        request = _Request(batch=room, expires=int(WAIT_S * 1e9), idle_heartbeat=int(BEAT_S * 1e9))
        try:
            await self._bus.nc.publish(
                self._subject, msgspec.json.encode(request), reply=self._inbox
            )
        except AWAY as error:
            log.warning("bus.pull_failed", consumer=self._consumer, error=repr(error))
            await asyncio.sleep(PAUSE_S)
        else:
            self._asked = room

    async def _refused(self, message: Msg, status: str) -> None:
        said = (message.headers or {}).get("Description", "")
        log.warning("bus.pull_refused", consumer=self._consumer, status=status, said=said)
        await asyncio.sleep(PAUSE_S)

    def _forget(self) -> None:
        """The connection is back: the server has forgotten what was asked on the old one."""
        self._come.put_nowait(None)
