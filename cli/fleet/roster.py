"""Who is alive, by the heartbeats that were heard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.errors import MessageError
from shared.messages import Heartbeat, decode
from shared.service import HEARTBEAT_S

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from shared.bus import Bus

STALE_S = HEARTBEAT_S + 10.0
"""Who has been silent for longer is not counted as alive."""


class Roster:
    """The last heartbeat of each instance, and when it was heard."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], tuple[Heartbeat, float]] = {}

    async def listen(self, bus: Bus) -> None:
        """Hear everybody from now on, until the bus is closed."""
        await bus.nc.subscribe(bus.subjects.heartbeats(), cb=self._on_message)

    async def _on_message(self, message: Msg) -> None:
        try:
            self.take(decode(message.data, Heartbeat))
        except MessageError:
            return

    def take(self, beat: Heartbeat) -> None:
        """Somebody is alive."""
        self._heard[beat.service, beat.instance] = (beat, time.monotonic())

    def age_s(self, service: str, host: str = "", *, since_unix_ns: int = 0) -> float | None:
        """Seconds since a service's last sign of life; None if there was none `since` then."""
        ages = [
            time.monotonic() - heard_s
            for beat, heard_s in self._heard.values()
            if (beat.service, beat.host) == (service, host) and beat.unix_ns >= since_unix_ns
        ]
        return min(ages, default=None)

    def alive(self, service: str, host: str = "", *, since_unix_ns: int = 0) -> bool:
        """Whether it was heard lately."""
        age_s = self.age_s(service, host, since_unix_ns=since_unix_ns)
        return age_s is not None and age_s <= STALE_S

    def gone(self, service: str, host: str = "", *, since_unix_ns: int = 0) -> list[str]:
        """What its latest sign of life says that it does not find on the bus."""
        beats = [
            beat
            for beat, _ in self._heard.values()
            if (beat.service, beat.host) == (service, host) and beat.unix_ns >= since_unix_ns
        ]
        return max(beats, key=lambda beat: beat.unix_ns).gone if beats else []

    def hosts(self) -> set[str]:
        """Every host that somebody was heard of."""
        return {beat.host for beat, _ in self._heard.values() if beat.host}
