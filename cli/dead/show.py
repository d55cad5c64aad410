"""`cox dead`: what nobody could handle, for a person or as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table
from rich.text import Text

from cli import figures
from cli.dead.letters import Dead, read_letter, read_pile
from cli.dead.replay import checked, objection, replay
from cli.output import console, plain_table, print_json, show
from cli.session import connected

if TYPE_CHECKING:
    from shared.bus import Bus

REASON_LENGTH = 100
BODY_LENGTH = 4000


async def list_letters(*, as_json: bool) -> None:
    """All of them, oldest first."""
    async with connected() as bus:
        pile = await read_pile(bus)
    if as_json:
        letters = [_summary(dead) for dead in pile.letters]
        print_json({"type": "dead_letters", "letters": letters, "unreadable": pile.unreadable})
        return
    if not pile.letters and not pile.unreadable:
        console().print("No dead letter: everything that was sent was handled.")
        return
    table = plain_table()
    for column in ("id", "age", "subject", "tries", "why"):
        table.add_column(column, overflow="fold")
    for dead in pile.letters:
        letter = dead.letter
        table.add_row(
            str(dead.id),
            _age(letter.unix_ns),
            letter.subject,
            str(letter.deliveries),
            _cut(letter.reason, REASON_LENGTH),
        )
    show(table)
    if pile.unreadable:
        show(Text(f"{pile.unreadable} more in the stream are no letters of ours", "yellow"))
    show(Text("\nLook at one:  cox dead show ID    hand it out again:  cox dead replay ID", "dim"))


async def show_letter(identity: int, *, as_json: bool) -> None:
    """One letter with its message, and whether it could be replayed."""
    async with connected() as bus:
        dead = await read_letter(bus, identity)
        against = await objection(bus, dead, time.time_ns())
    letter = dead.letter
    cut = letter.size_bytes > len(letter.data)
    if as_json:
        body = {
            "body": _json(letter.data),
            "data": letter.data,
            "headers": letter.headers,
            "cut": cut,
        }
        print_json({"type": "dead_letter", **_summary(dead), **body, "objection": against})
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in (
        ("letter", str(dead.id)),
        ("subject", letter.subject),
        ("from", f"{letter.stream}, sequence {letter.sequence}"),
        ("died", f"{_age(letter.unix_ns)} ago after {_deliveries(letter.deliveries)}"),
        ("why", letter.reason),
        *((f"header {name}", value) for name, value in sorted(letter.headers.items())),
        ("size", f"{letter.size_bytes} bytes" + (f", {len(letter.data)} kept" if cut else "")),
        ("message", _body(letter.data)),
        ("replay", against or "possible:  cox dead replay " + str(dead.id)),
    ):
        grid.add_row(label, Text(text))
    show(grid)


async def replay_letters(identities: list[int], *, as_json: bool) -> None:
    """Send them again, all or none: every one is checked before the first is sent."""
    async with connected() as bus:
        letters = [await read_letter(bus, identity) for identity in dict.fromkeys(identities)]
        for dead in letters:
            await checked(bus, dead, time.time_ns())
        for dead in letters:
            await _replay(bus, dead, as_json=as_json)
    if as_json:
        print_json({"type": "replayed", "letters": [_summary(dead) for dead in letters]})


async def _replay(bus: Bus, dead: Dead, *, as_json: bool) -> None:
    await replay(bus, dead)
    if not as_json:
        show(Text(f"letter {dead.id} is on {dead.letter.subject} again", "green"))


def _summary(dead: Dead) -> dict[str, Any]:
    letter = dead.letter
    body = _json(letter.data)
    return {
        "id": dead.id,
        "stream": letter.stream,
        "subject": letter.subject,
        "sequence": letter.sequence,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "optimization": body.get("optimization", "") if isinstance(body, dict) else "",
        "unix_ns": letter.unix_ns,
    }


def _json(data: bytes) -> Any:
    """The message as JSON; None if it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _body(data: bytes) -> str:
    body = _json(data)
    if body is None:
        return _cut(f"no JSON: {data[:BODY_LENGTH]!r}", BODY_LENGTH)
    return _cut(msgspec.json.format(data, indent=2).decode(), BODY_LENGTH)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"


def _age(unix_ns: int) -> str:
    return figures.seconds(max(0.0, time.time() - unix_ns / 1e9))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
