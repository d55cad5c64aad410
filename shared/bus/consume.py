"""Pulling work from a durable consumer.

A handler that returns acknowledges its message. One that raises sends it back with growing
delay, until it has been delivered MAX_DELIVER times: then it is a dead letter. Bytes that
cannot be decoded are a dead letter at once, since nobody will ever decode them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from shared.bus.away import AWAY
from shared.bus.provision import ACK_WAIT_S, MAX_DELIVER
from shared.bus.pull import Pull
from shared.bus.stored import check_genuine
from shared.errors import CoxswainError, MessageError
from shared.messages import DeadLetter, Message, decode
from shared.metrics import declared
from shared.subjects import NO_HOST, Told
from shared.telemetry.attempts import Attempts
from shared.telemetry.context import attached, extract

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from shared.bus.connection import Bus

KEPT_BYTES, KEPT_HEADERS, KEPT_CHARS = 256 * 1024, 16, 256
"""Of a dead letter's body, headers, and each of these: a letter must fit into one message."""

log = structlog.get_logger(__name__)


class Delivery(msgspec.Struct, frozen=True):
    """How a message came: which stream sequence, and the how-manieth time."""

    subject: str
    sequence: int
    deliveries: int


Handler = Callable[[Any, Delivery], Awaitable[None]]
"""Called with the decoded message and its Delivery."""

Routes = Mapping[str, tuple[type[Message], Handler]]
"""From a subject's verb or fact (its fourth token) to the message type and its handler."""


async def consume(
    bus: Bus, stream: str, consumer: str, routes: Routes, *, concurrency: int = 1
) -> None:
    """Pull and handle for ever; cancelling it lets what runs finish first."""
    running: set[asyncio.Task[None]] = set()
    attempts = Attempts()
    try:
        async with Pull(bus, stream, consumer) as pull:
            while True:
                while len(running) >= concurrency:  # ask only for what can be worked on at once
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                message = await pull.next(concurrency - len(running))
                task = asyncio.create_task(_handle(bus, stream, message, routes, attempts))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        if running:
            await asyncio.wait(running, timeout=10.0)
        for task in running:
            task.cancel()


async def _handle(bus: Bus, stream: str, message: Msg, routes: Routes, attempts: Attempts) -> None:
    metadata = message.metadata
    delivery = Delivery(message.subject, metadata.sequence.stream, metadata.num_delivered or 1)
    verb = message.subject.split(".")[3]
    try:
        if verb not in routes:
            raise MessageError(  # noqa: TRY301 - it takes the same way as bad bytes
                "nobody handles this", expected=", ".join(routes), got=verb
            )
        check_genuine(message.headers)
        kind, handler = routes[verb]
        body = decode(message.data, kind)
        check_teller(message.subject, body)
    except MessageError as error:
        await bury(bus, stream, message, delivery, str(error))
        await message.term()
        return
    counts = {"stream": bus.subjects.stream_kind(stream), "verb": verb}
    if delivery.deliveries > 1:
        bus.metrics.count(declared.REDELIVERED, **counts)
    else:
        # The server's clock and ours: a difference between them must not count as a wait.
        waited_s = max(0.0, time.time() - metadata.timestamp.timestamp())
        bus.metrics.observe(declared.WAITED, waited_s, **counts)
    begun = time.monotonic()
    keeper = asyncio.create_task(_keep(message))
    try:
        with attached(extract(message.headers or {})), attempts.attempt(delivery.sequence):
            await handler(body, delivery)
    except asyncio.CancelledError:
        with contextlib.suppress(*AWAY):
            await message.nak()
        raise
    except Exception as error:  # a handler's failure must not stop the others
        bus.metrics.count(declared.FAILED, **counts)
        problem = str(error) if isinstance(error, CoxswainError) else repr(error)
        log.warning(
            "bus.handler_failed",
            subject=message.subject,
            deliveries=delivery.deliveries,
            problem=problem,
            exc_info=not isinstance(error, CoxswainError),
        )
        with contextlib.suppress(*AWAY):
            if delivery.deliveries >= MAX_DELIVER:
                await bury(bus, stream, message, delivery, problem)
                await message.term()
            else:
                await message.nak(delay=min(0.25 * 2**delivery.deliveries, 10.0))
    else:
        bus.metrics.count(declared.HANDLED, **counts)
        # A lost ack means another delivery; handlers are idempotent.
        with contextlib.suppress(*AWAY):
            await message.ack()
    finally:
        keeper.cancel()
        bus.metrics.observe(declared.HANDLING, time.monotonic() - begun, **counts)


def check_teller(subject: str, body: Message) -> None:
    """Raise MessageError for an event that is not what its subject says.

    Permissions bound whose subjects a key may publish on, so a body that names another host would
    be a word that its owner may not say. What is no event has no teller.
    """
    try:
        told = Told.on(subject)
    except ValueError:
        return
    said = (getattr(body, "optimization", ""), getattr(body, "host", NO_HOST))
    if said != (told.optimization, told.host):
        raise MessageError(
            "an event says that it is of somebody else",
            expected=f"optimization {told.optimization} on host {told.host}, as its subject says",
            got=f"{said[0]} on {said[1]}",
        )


async def _keep(message: Msg) -> None:
    """Tell the server that the work goes on, so that nobody else is given it."""
    while True:
        await asyncio.sleep(ACK_WAIT_S / 3)
        with contextlib.suppress(*AWAY):
            await message.in_progress()


async def bury(bus: Bus, stream: str, message: Msg, delivery: Delivery, reason: str) -> None:
    """Copy a message to the dead letters, once."""
    letter = DeadLetter(
        stream=stream,
        subject=message.subject,
        sequence=delivery.sequence,
        deliveries=delivery.deliveries,
        reason=reason,
        data=message.data[:KEPT_BYTES],
        size_bytes=len(message.data),
        headers={
            name[:KEPT_CHARS]: value[:KEPT_CHARS]
            for name, value in list((message.headers or {}).items())[:KEPT_HEADERS]
        },
        unix_ns=time.time_ns(),
    )
    await bus.publish(
        bus.subjects.dead(stream), letter, message_id=f"dead-{stream}-{delivery.sequence}"
    )
    bus.metrics.count(declared.DEAD_LETTERS, stream=bus.subjects.stream_kind(stream))
    log.error("bus.dead_letter", subject=message.subject, reason=reason)
