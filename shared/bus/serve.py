"""Answering short questions: handlers run side by side and are drained on close.

nats-py's own micro services run their handlers one after another and drop what is in flight
when they stop, hence plain queue subscriptions here; discovery is by heartbeats.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from shared.bus.stored import check_spoken
from shared.errors import CoxswainError, Problem
from shared.messages import Message, OptimizeRequest, decode, encode
from shared.telemetry.context import attached, extract

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from shared.bus.connection import Bus

log = structlog.get_logger(__name__)

MOST_WAITING = 4096
"""Questions that wait at one endpoint; each may be as large as a message."""

Answer = Callable[[Any], Awaitable[Message]]


class Inquiry(msgspec.Struct, frozen=True):
    """How a question came: on which subject, and its very bytes."""

    subject: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.data).hexdigest()


AnswerAsked = Callable[[Any, Inquiry], Awaitable[Message]]
"""For who must know more than the decoded message."""
Refuse = Callable[[Problem], Message]


class Endpoint:
    """One subject that is being answered."""

    def __init__(
        self,
        bus: Bus,
        kind: type[Message | OptimizeRequest],
        answer: AnswerAsked,
        concurrency: int,
        refuse: Refuse,
    ) -> None:
        self._bus = bus
        self._kind = kind
        self._answer = answer
        self._refuse = refuse
        self._slots = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[None]] = set()
        self._heard = ""
        self._subscription: Subscription | None = None

    async def start(self, subject: str, queue: str) -> None:
        """Begin to answer. Of a flood, what has no room here is dropped, unanswered."""
        self._heard = subject
        self._subscription = await self._bus.nc.subscribe(
            subject, queue=queue, cb=self._spawn, pending_msgs_limit=MOST_WAITING
        )

    async def stop(self, deadline_s: float = 5.0) -> None:
        """Take no new questions, let what runs finish."""
        if self._subscription is not None and not self._bus.nc.is_closed:
            await self._subscription.unsubscribe()
        if self._running:
            await asyncio.wait(self._running, timeout=deadline_s)
        for task in self._running:
            task.cancel()

    async def _spawn(self, message: Msg) -> None:
        await self._slots.acquire()
        task = asyncio.create_task(self._handle(message))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()

    async def _handle(self, message: Msg) -> None:
        with attached(extract(message.headers or {})):
            try:
                check_spoken(message, self._heard)
                inquiry = Inquiry(message.subject, message.data)
                reply = await self._answer(decode(message.data, self._kind), inquiry)
            except CoxswainError as error:
                reply = self._refuse(error.problem)
            except Exception:
                # The caller learns that it failed, not what our internals look like.
                log.exception("bus.endpoint_failed", subject=message.subject)
                reply = self._refuse(
                    Problem(
                        kind="InternalError",
                        what="the service failed to answer",
                        advice="Its log says why.",
                    )
                )
        if message.reply:
            await message.respond(encode(reply))
