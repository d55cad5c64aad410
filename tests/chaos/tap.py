"""A listener that hears all that is said on the bus, as far as it is connected itself."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from nats.aio.msg import Msg

from shared.bus import Bus
from shared.fleet import CLAIMS, Claims
from tests.chaos.history import Acknowledged

COUNTED = ("observer", "executor", "learner")
"""Services whose facts planners act on: theirs are worth repeating."""


class _Kept(msgspec.Struct):
    """How JetStream acknowledges a message."""

    stream: str
    seq: int
    duplicate: bool = False


class Tap:
    """Facts and who has heard that they are kept; commands; who works where."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, tuple[str, bytes]] = {}
        """Facts that their publisher has no answer to yet, by the subject for it."""
        self.acknowledged: list[Acknowledged] = []
        self.claims: list[Claims] = []
        self.said: dict[str, list[tuple[str, bytes]]] = {}
        """What could be said again, by what it is."""

    async def start(self) -> None:
        """Listen.

        Not to inboxes of consumers (`_INBOX.<id>`), only to those of questions
        (`_INBOX.<id>.<question>`): while somebody listens there, the server goes on sending work to
        a process that is dead.
        """
        bucket = self._bus.subjects.bucket("fleet")
        for subject in (f"{self._bus.subjects.namespace}.>", f"$KV.{bucket}.>", "_INBOX.*.*"):
            await self._bus.nc.subscribe(subject, cb=self._hear, pending_bytes_limit=1 << 30)

    def draw(self, draw: int) -> tuple[str, bytes] | None:
        """Something that was said: each kind of thing is as likely as any other."""
        if not self.said:
            return None
        kinds = sorted(self.said)
        of_kind = self.said[kinds[draw % len(kinds)]]
        return of_kind[draw // len(kinds) % len(of_kind)]

    async def _hear(self, message: Msg) -> None:
        subject, data = message.subject, bytes(message.data)
        fact = self._waiting.pop(subject, None)
        if fact is not None:
            self._note(fact, data)
            return
        _, _, rest = subject.partition(".")
        parts = rest.split(".")
        if subject == f"$KV.{self._bus.subjects.bucket('fleet')}.{CLAIMS}" and data:
            self.claims.append(msgspec.json.decode(data, type=Claims))
        elif parts[0] == "evt":
            if message.reply:
                self._waiting[message.reply] = subject, data
            if parts[1] in COUNTED:
                self._remember(f"evt {parts[2]}", subject, data)
        elif parts[0] == "cmd":
            self._remember(f"cmd {parts[2]}", subject, data)

    def _remember(self, kind: str, subject: str, data: bytes) -> None:
        self.said.setdefault(kind, []).append((subject, data))

    def _note(self, fact: tuple[str, bytes], answer: bytes) -> None:
        subject, data = fact
        try:
            kept: Any = msgspec.json.decode(answer, type=_Kept)
        except msgspec.DecodeError:
            return  # it was refused
        if not kept.duplicate:
            self.acknowledged.append(
                Acknowledged(
                    sequence=kept.seq, subject=subject, sha256=hashlib.sha256(data).hexdigest()
                )
            )
