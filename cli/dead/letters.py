"""Reading dead letters. A letter's id is its sequence in the stream DEAD."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from shared.errors import BusUnavailableError, DeadlineError, InputError, MessageError
from shared.messages import DeadLetter, decode

if TYPE_CHECKING:
    from shared.bus import Bus

READ_S = 5.0


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """One letter, and how the operator names it."""

    id: int
    letter: DeadLetter


class Pile(msgspec.Struct, frozen=True, kw_only=True):
    """All letters there are, oldest first."""

    letters: list[Dead]
    unreadable: int = 0
    """What stands in the stream and is no letter of ours."""


async def read_pile(bus: Bus) -> Pile:
    """Everything that the stream keeps now. Raises DeadlineError if it stops answering."""
    try:
        return await _read_all(bus)
    except TimeoutError as error:
        raise DeadlineError("the dead letters stopped coming") from error
    except (NatsError, OSError) as error:
        raise _unreachable(error) from error


async def _read_all(bus: Bus) -> Pile:
    letters: list[Dead] = []
    unreadable = 0
    subscription = await bus.js.subscribe(
        bus.subjects.stream_subjects("DEAD"),
        stream=bus.subjects.stream("DEAD"),
        ordered_consumer=True,
    )
    try:
        left = (await subscription.consumer_info()).num_pending or 0
        left += subscription.delivered
        while left > 0:
            message = await subscription.next_msg(timeout=READ_S)
            left = message.metadata.num_pending
            try:
                letter = decode(message.data, DeadLetter)
            except MessageError:
                unreadable += 1
                continue
            letters.append(Dead(id=message.metadata.sequence.stream, letter=letter))
    finally:
        with contextlib.suppress(NatsError):
            await subscription.unsubscribe()
    return Pile(letters=letters, unreadable=unreadable)


async def read_letter(bus: Bus, identity: int) -> Dead:
    """One letter. Raises InputError if there is none with this id, MessageError for no letter."""
    try:
        message = await bus.js.get_msg(bus.subjects.stream("DEAD"), seq=identity, direct=True)
    except NotFoundError:
        raise InputError(
            f"there is no dead letter {identity}",
            expected="an id as `cox dead list` shows them",
            got=str(identity),
            advice="It may have been replayed already.",
        ) from None
    except (NatsError, OSError) as error:
        raise _unreachable(error) from error
    return Dead(id=identity, letter=decode(message.data or b"", DeadLetter))


def _unreachable(error: Exception) -> BusUnavailableError:
    return BusUnavailableError(
        "the dead letters could not be reached",
        expected="the stream DEAD, as provisioning makes it",
        got=repr(error),
        advice="Check the NATS server; `cox up` provisions it.",
    )
