"""Who is there: hosts whose observer and executor have been heard lately."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from shared.service import CALL_S, HEARTBEAT_S, call_roll

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nats.aio.msg import Msg

    from shared.bus import Bus

SILENT_S = HEARTBEAT_S + 5.0
"""A host that misses a beat is not there, unless it answers when the roll is called."""
ANSWER_S = 5 * CALL_S
"""Emulated hosts under load are late."""

_PARTS: Final = ("observer", "executor")


class Presence:
    """Heard heartbeats, by our own clock: hosts' clocks may be wrong."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._heard: dict[tuple[str, str], float] = {}
        self._called_s = -ANSWER_S

    async def start(self) -> None:
        """Listen from now on."""
        for part in _PARTS:
            await self._bus.nc.subscribe(self._bus.subjects.heartbeats(part), cb=self._hear)

    def missing(self, host: str) -> list[str]:
        """The services of a host that are silent."""
        now = time.monotonic()
        return [
            part for part in _PARTS if now - self._heard.get((part, host), -SILENT_S) >= SILENT_S
        ]

    async def wait_for(self, hosts: Iterable[str]) -> None:
        """Until all of them are heard, or as long as it takes to be sure that they are silent.

        A planner that has just started has not heard anybody yet.
        """
        quiet = [host for host in hosts if self.missing(host)]
        now = time.monotonic()
        # Everybody answers: requests that come together share one call.
        if quiet and now - self._called_s >= ANSWER_S:
            self._called_s = now
            await call_roll(self._bus)
        while quiet and time.monotonic() < self._called_s + ANSWER_S:
            await asyncio.sleep(0.1)
            quiet = [host for host in quiet if self.missing(host)]

    async def _hear(self, message: Msg) -> None:
        # The subject says it all: ten thousand hosts are two thousand beats a second.
        *_, part, host = message.subject.split(".")
        self._heard[part, host] = time.monotonic()
