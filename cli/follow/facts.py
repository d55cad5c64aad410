"""The events of one optimization, from its first one on, through any trouble of the bus."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError

from cli.channels import EVENTS
from shared.errors import MessageError
from shared.messages import Message, decode
from shared.subjects import Told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.msg import Msg

    from shared.bus import Bus

LOOK_S = 1.0


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One event: who said what, when the stream took it, and as the how-manieth."""

    service: str
    name: str
    message: Message
    unix_ns: int
    sequence: int


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came for a moment; `connected` says whether anything could have."""

    connected: bool
    complete: bool = False
    """The server says that there is nothing more, for now."""


def read_fact(message: Msg) -> Fact | None:
    """An event as it stands in the stream; None if it is none of ours."""
    try:
        told = Told.on(message.subject)
        body = decode(message.data, EVENTS[told.service, told.fact])
    except (ValueError, KeyError, MessageError):
        return None
    metadata = message.metadata
    return Fact(
        service=told.service,
        name=told.fact,
        message=body,
        unix_ns=int(metadata.timestamp.timestamp() * 1e9),
        sequence=metadata.sequence.stream,
    )


async def follow(bus: Bus, optimization: str) -> AsyncGenerator[Fact | Silence]:
    """Every event once, in order, for ever; a Silence when there is none for a second.

    A lost server or consumer costs nothing but time: reading begins again, and what was seen is
    left out.
    """
    seen = 0
    while True:
        try:
            async with contextlib.aclosing(_subscription(bus, optimization)) as messages:
                async for message in messages:
                    if message is None:
                        yield Silence(connected=True, complete=True)
                        continue
                    if message.metadata.sequence.stream <= seen:
                        continue
                    seen = message.metadata.sequence.stream
                    fact = read_fact(message)
                    if fact is not None:
                        yield fact
        except (NatsError, APIError, TimeoutError):
            yield Silence(connected=bus.nc.is_connected)
            await asyncio.sleep(LOOK_S / 2)


async def _subscription(bus: Bus, optimization: str) -> AsyncGenerator[Msg | None]:
    """Messages as they come, None if there is none for now. Raises when it may have died."""
    subscription = await bus.js.subscribe(
        bus.subjects.events(optimization=optimization),
        stream=bus.subjects.stream("EVENTS"),
        ordered_consumer=True,
    )
    try:
        while True:
            try:
                message = await subscription.next_msg(timeout=LOOK_S)
            except NatsTimeoutError:
                # A consumer that went with its server says nothing either: ask about it.
                if not (await subscription.consumer_info()).num_pending:
                    yield None
                continue
            yield message
    finally:
        with contextlib.suppress(NatsError):
            await subscription.unsubscribe()
