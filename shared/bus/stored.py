"""Reading all that a stream keeps now for a filter, and knowing when that was all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from nats.js.api import ConsumerConfig, DeliverPolicy

from shared.bus.away import AWAY
from shared.errors import DeadlineError, MessageError
from shared.plain import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

PATIENCE_S = 5.0


ORIGIN = "nats-stream"
"""A header that nats-server adds when somebody gets a message directly from a stream."""


class Kept(msgspec.Struct, frozen=True):
    """A message as a stream keeps it.

    Not `genuine` is what a stream was asked to send there instead of to who asked: whoever may read
    a stream may name any subject for its answer, whatever that key may publish itself.
    """

    subject: str
    data: bytes
    sequence: int
    unix_ns: int
    genuine: bool
    born: str
    """When its stream was made: sequences of another one are not comparable."""


def genuine(headers: Mapping[str, str] | None) -> bool:
    """Whether a message was published as it stands, and not sent on by a stream."""
    return all(name.lower() != ORIGIN for name in headers or ())


def check_genuine(headers: Mapping[str, str] | None) -> None:
    """Raise MessageError for what a stream has sent on, which is nobody's word."""
    if not genuine(headers):
        raise MessageError(
            "a message was sent on by a stream",
            expected="one that somebody has published here",
            got="what a key had sent where it may not publish",
        )


def check_spoken(message: Msg, heard: str) -> None:
    """The same, for a message that came for the subscription to `heard`.

    What a consumer pushes to a subject has no such header, but its own subject.
    """
    check_genuine(message.headers)
    tokens, wanted = message.subject.split("."), heard.split(".")
    if len(tokens) != len(wanted) or any(
        want not in {"*", token} for token, want in zip(tokens, wanted, strict=True)
    ):
        raise MessageError(
            "a message was sent on by a stream",
            expected=f"one that was published on {heard}",
            got=f"one of {plain(message.subject, 200)}",
        )


async def stored(
    js: JetStreamContext,
    stream: str,
    subject_filter: str,
    *,
    last_only: bool = False,
    start: int = 0,
    since: datetime | None = None,
) -> AsyncIterator[Msg]:
    """Every message that is kept now, oldest first; of each subject the last one with `last_only`.

    With `start` from that sequence on, with `since` from that moment.

    Raises DeadlineError when the stream stops answering.
    """
    policy = DeliverPolicy.LAST_PER_SUBJECT if last_only else DeliverPolicy.ALL
    if start:
        policy = DeliverPolicy.BY_START_SEQUENCE
    elif since is not None:
        policy = DeliverPolicy.BY_START_TIME
    subscription = await js.subscribe(
        subject_filter,
        stream=stream,
        ordered_consumer=True,
        config=ConsumerConfig(opt_start_seq=start or None, opt_start_time=since),
        deliver_policy=policy,
    )
    try:
        info = await subscription.consumer_info()
        # What the server has sent already counts by its own word: on a busy machine it is not
        # here yet when the answer is.
        sent = info.delivered.consumer_seq if info.delivered is not None else 0
        left = (info.num_pending or 0) + (sent or 0)
        while left > 0:
            message = await subscription.next_msg(timeout=PATIENCE_S)
            yield message
            left = message.metadata.num_pending
    except TimeoutError as error:
        raise DeadlineError(f"stream {stream} stopped answering") from error
    finally:
        with contextlib.suppress(*AWAY):
            await subscription.unsubscribe()
