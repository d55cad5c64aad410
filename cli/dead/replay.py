"""Handing a dead letter's message out again, if that makes sense.

A letter goes back to where it came from, under a new message id: its own would be dropped as a
repetition. Only then is it taken out, so that a crash in between loses nothing; somebody who
replays the same letter at the same time sends under the same new id, so it arrives once.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nats.js.errors import NotFoundError

from cli.channels import CHANNELS
from shared.errors import CoxswainError, InputError, MessageError
from shared.messages import decode
from shared.optimization import Optimization
from shared.telemetry.context import attached, extract

if TYPE_CHECKING:
    from cli.channels import Channel
    from cli.dead.letters import Dead
    from shared.bus import Bus
    from shared.messages import DeadLetter
    from shared.subjects import Subjects

AFTERWARDS = {"stop", "revert", "seal", "remember"}
"""Commands that end or keep something: they are as good after their optimization's end."""


def check(dead: Dead, subjects: Subjects, state: Optimization | None, now_unix_ns: int) -> None:
    """Raises InputError with the reason why a letter must not be replayed, if there is one.

    `state` is the record of the message's optimization, if there is one.
    """
    letter = dead.letter
    channel = _channel(letter, subjects)
    if channel is None:
        raise InputError(
            f"dead letter {dead.id} does not come from a queue of this fleet",
            expected=f"a command or event on a subject of {subjects.namespace!r}",
            got=f"{letter.subject} in stream {letter.stream}",
            advice="It stays where it is. `cox schema` lists the subjects.",
        )
    try:
        message = decode(letter.data, channel.message)
    except MessageError as error:
        raise InputError(
            f"dead letter {dead.id} cannot be read, and would only die again",
            expected=f"a valid {channel.message.__name__}",
            got=error.got,
            advice="Correct its sender, and send what it meant anew.",
        ) from None
    expires = getattr(message, "expires_unix_ns", 0)
    if expires and now_unix_ns >= expires:
        raise InputError(
            f"dead letter {dead.id} is too late",
            expected="a command before its optimization's budget ends",
            got=f"{(now_unix_ns - expires) / 1e9:.0f} s after it",
            advice="Ask for a new optimization.",
        )
    identity = getattr(message, "optimization", "")
    begins = channel.kind == "command" and channel.verb not in AFTERWARDS
    if begins and (state is None or state.over):
        raise InputError(
            f"dead letter {dead.id} would begin something for an optimization that is "
            + ("unknown" if state is None else "over"),
            expected="an optimization that goes on",
            got=f"{identity} ended as {state.terminal}" if state is not None else repr(identity),
            advice="Ask for a new optimization.",
        )


async def checked(bus: Bus, dead: Dead, now_unix_ns: int) -> None:
    """The same with what the bus knows: the optimization's record, and who would take it."""
    records = await bus.records("optimizations", Optimization)
    channel = _channel(dead.letter, bus.subjects)
    state = None
    if channel is not None:
        with contextlib.suppress(MessageError):
            body = decode(dead.letter.data, channel.message)
            found = await records.get(getattr(body, "optimization", "") or "-")
            state = found.value if found is not None else None
    check(dead, bus.subjects, state, now_unix_ns)
    if channel is not None and channel.service and channel.of_host:
        host = dead.letter.subject.split(".")[-1]
        consumer = bus.subjects.consumer(channel.service, "host", host)
        try:
            await bus.js.consumer_info(bus.subjects.stream("COMMANDS", host), consumer)
        except NotFoundError:
            raise InputError(
                f"nobody would take dead letter {dead.id}",
                expected=f"the {channel.service} of a host on this bus",
                got=f"{host}, which has no queue",
                advice="`cox hosts` lists the hosts that have joined.",
            ) from None


async def objection(bus: Bus, dead: Dead, now_unix_ns: int) -> str:
    """Why a letter cannot be replayed; empty if it can."""
    try:
        await checked(bus, dead, now_unix_ns)
    except CoxswainError as error:
        return error.what
    return ""


async def replay(bus: Bus, dead: Dead) -> None:
    """Send a letter's message again in its own trace, and take the letter out."""
    letter = dead.letter
    with attached(extract(letter.headers)):
        await bus.publish_bytes(
            letter.subject, letter.data, message_id=f"replay-{dead.id}-{letter.unix_ns}"
        )
    with contextlib.suppress(NotFoundError):  # somebody else was as quick
        await bus.js.delete_msg(bus.subjects.stream("DEAD"), dead.id)


def _channel(letter: DeadLetter, subjects: Subjects) -> Channel | None:
    """Which of our channels a letter was on; none for another fleet's or a made-up one."""
    *_, before, last = ["", "", *letter.subject.split(".")]
    with contextlib.suppress(InputError):  # of a part that none of our subjects can have
        for channel in CHANNELS:
            if _origin(channel, subjects, before, last) == (letter.subject, letter.stream):
                return channel
    return None


def _origin(channel: Channel, subjects: Subjects, before: str, last: str) -> tuple[str, str] | None:
    """A channel's subject with those last two parts, and the stream that keeps it."""
    if not channel.service:
        return None
    host = last if channel.of_host else None
    match channel.kind:
        case "command":
            return (
                subjects.command(channel.service, channel.verb, host),
                subjects.stream("COMMANDS", host),
            )
        case "event":
            subject = subjects.event(channel.service, channel.verb, before, host)
            return subject, subjects.stream("EVENTS")
        case _:
            return None
