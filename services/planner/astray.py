"""Hosts that keep what they should not, because an order to go back was lost with its stream.

Each host says what it keeps. If that optimization has ended without a promotion, the host is told
once more to go back. If no record tells of it, nobody can say whether it should: that is shown, and
an operator decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from shared.messages import RevertCommand, encode
from shared.metrics import declared

if TYPE_CHECKING:
    from services.planner.hosts import Hosts
    from services.planner.lives import Lives
    from shared.bus import Bus
    from shared.optimization import Optimization
    from shared.telemetry import Telemetry

LOOK_S = 10.0
SETTLED_NS = 30 * 1_000_000_000
"""Its own order to go back, and the host's word that it has, may still be on their way."""
AGAIN_NS = 60 * 1_000_000_000
"""Between two orders to one host; planners that give the same one in this time give one."""

log = structlog.get_logger(__name__)


class Astray:
    """Finds them, and tells them."""

    def __init__(self, bus: Bus, telemetry: Telemetry, lives: Lives, hosts: Hosts) -> None:
        self._bus = bus
        self._metrics = telemetry.metrics
        self._lives = lives
        self._hosts = hosts
        self._next_s = 0.0
        self._right: set[str] = set()
        """Optimizations that were promoted: that does not change while their records are there."""
        self._unaccounted: dict[str, str] = {}

    def forget(self) -> None:
        """The records are other ones: look at all of them anew, and now."""
        self._right.clear()
        self._next_s = 0.0

    async def look(self) -> None:
        """Look at all hosts, if it is time to. Raises BusError."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + LOOK_S
        keeping = self._hosts.keeping()
        alive = {state.id for state in self._lives.alive()}
        unaccounted: dict[str, str] = {}
        for identity in sorted(set(keeping.values()) - alive - self._right):
            hosts = [host for host, kept in keeping.items() if kept == identity]
            state = await self._lives.read(identity)
            if state is None:
                unaccounted |= dict.fromkeys(hosts, identity)
            elif state.over and state.terminal == "promoted":
                self._right.add(identity)
            elif state.over and time.time_ns() - state.ended_unix_ns > SETTLED_NS:
                for host in hosts:
                    await self._take_back(state, host)
        self._show(unaccounted)

    async def _take_back(self, state: Optimization, host: str) -> None:
        log.error(
            "host.astray",
            host=host,
            optimization=state.id,
            expected=f"nothing of it, for it has ended: {state.terminal}",
            got="that it keeps it",
            advice="It is told to go back once more.",
        )
        reason = f"{state.id} has ended ({state.terminal}), and {host} still keeps it"
        await self._bus.publish_bytes(
            self._bus.subjects.command("executor", "revert", host),
            encode(RevertCommand(optimization=state.id, reason=reason)),
            message_id=f"{state.id}-astray-{host}-{time.time_ns() // AGAIN_NS}~{state.secret}",
        )

    def _show(self, unaccounted: dict[str, str]) -> None:
        for host, identity in unaccounted.items():
            if self._unaccounted.get(host) != identity:
                log.error(
                    "host.unaccounted",
                    host=host,
                    optimization=identity,
                    expected="a record of what the host keeps",
                    got="none: it was lost, or is older than records are kept",
                    advice=f"`cox revert {host}` gives the host back to the kernel's default.",
                )
        self._unaccounted = unaccounted
        self._metrics.set(declared.UNACCOUNTED, len(unaccounted))
