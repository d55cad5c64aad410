"""Operators' orders: one optimization, one host, or the whole fleet stands still or goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output import console, print_json
from cli.report.collect import record_of
from cli.session import connected
from shared.errors import RemoteError
from shared.messages import (
    DrainRequest,
    FreezeRequest,
    PauseRequest,
    Reply,
    ResumeRequest,
)

if TYPE_CHECKING:
    from shared.bus import Bus
    from shared.messages import Message

ASK_S = 15.0


async def pause(identity: str, *, as_json: bool) -> None:
    """One optimization begins nothing new."""
    async with connected() as bus:
        record = await record_of(bus, identity)
        await _ask(bus, "pause", PauseRequest(optimization=record.id))
    _say(
        {"type": "paused", "optimization": record.id},
        f"{record.id} is paused: what runs goes on to its end; `cox resume {record.id}`",
        as_json=as_json,
    )


async def resume(identity: str, *, as_json: bool) -> None:
    """It goes on."""
    async with connected() as bus:
        record = await record_of(bus, identity)
        await _ask(bus, "resume", ResumeRequest(optimization=record.id))
    _say({"type": "resumed", "optimization": record.id}, f"{record.id} goes on", as_json=as_json)


async def freeze(reason: str, *, frozen: bool, as_json: bool) -> None:
    """Nothing new begins anywhere, or it does again."""
    async with connected() as bus:
        await _ask(bus, "freeze", FreezeRequest(frozen=frozen, reason=reason))
    text = "the fleet is frozen: nothing new begins until `cox unfreeze`"
    _say(
        {"type": "frozen" if frozen else "unfrozen", "reason": reason},
        text if frozen else "the fleet goes on",
        as_json=as_json,
    )


async def drain(host: str, reason: str, *, drained: bool, as_json: bool) -> None:
    """Nothing new begins on a host, or it does again."""
    async with connected() as bus:
        await _ask(bus, "drain", DrainRequest(host=host, drained=drained, reason=reason))
    text = f"nothing new begins on {host} until `cox hosts undrain {host}`"
    _say(
        {"type": "drained" if drained else "undrained", "host": host, "reason": reason},
        text if drained else f"work may begin on {host} again",
        as_json=as_json,
    )


async def _ask(bus: Bus, name: str, request: Message) -> None:
    reply = await bus.ask(bus.subjects.endpoint("planner", name), request, Reply, timeout_s=ASK_S)
    if reply.problem is not None:
        raise RemoteError(reply.problem)


def _say(document: dict[str, str], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        console().print(text, soft_wrap=True)
