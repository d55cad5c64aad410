"""Making again what somebody has deleted: the part of whoever runs the bus, with his rights.

`cox up` and the bus's own process look every few seconds. What was in it is lost all the same;
services that have noticed that (shared/bus/footing.py) deal with it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog
from nats.js.errors import NotFoundError

from shared.bus.provision import (
    central_consumers,
    central_streams,
    provision,
    provision_host,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from shared.bus.connection import Bus

LOOK_S = 5.0
OF_A_HOST = 2
"""Consumers: its observer's and its executor's."""

log = structlog.get_logger(__name__)


class Upkeep:
    """Knows what should be there, and makes it again."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._next_s = 0.0
        self._had: dict[str, int] = {}
        """Consumers of each shard of commands, at the last look."""

    async def tend(self, hosts: Collection[str]) -> None:
        """Look if it is time to."""
        if time.monotonic() >= self._next_s:
            await self.look(hosts)
            self._next_s = time.monotonic() + LOOK_S

    async def look(self, hosts: Collection[str]) -> list[str]:
        """Make again what is missing, also of these hosts' places; the names of it."""
        there = await self._streams()
        missing = await self._central(there) + await self._shards(there, hosts)
        for name in missing:
            log.error(
                "bus.made_again",
                what=name,
                expected="what provisioning had made",
                got="nothing of that name",
                advice="What was in it is lost. Find out who has deleted it.",
            )
        return missing

    async def _central(self, there: Mapping[str, int]) -> list[str]:
        """What does not belong to one host."""
        subjects = self._bus.subjects
        missing = [name for name in central_streams(subjects) if name not in there]
        for stream, consumer in central_consumers(subjects):
            if stream in there and not await self._has(stream, consumer):
                missing.append(f"{stream} {consumer}")
        if missing:
            await provision(self._bus.js, subjects)
        return missing

    async def _shards(self, there: Mapping[str, int], hosts: Collection[str]) -> list[str]:
        """Hosts' places, by the number of consumers in a shard."""
        subjects = self._bus.subjects
        missing = []
        by_shard: defaultdict[str, list[str]] = defaultdict(list)
        for host in hosts:
            by_shard[subjects.stream("COMMANDS", host)].append(host)
        for shard, of_shard in by_shard.items():
            # There may be more: of hosts that are thrown out. So fewer than before counts, too.
            enough = max(OF_A_HOST * len(of_shard), self._had.get(shard, 0))
            if there.get(shard, 0) >= enough:
                self._had[shard] = there[shard]
                continue
            if shard in self._had:  # else it is a host's first time
                missing.append(shard)
            for host in of_shard:
                await provision_host(self._bus.js, subjects, host)
            self._had[shard] = OF_A_HOST * len(of_shard)
        return missing

    async def _streams(self) -> dict[str, int]:
        """Every stream that is there, with the number of its consumers."""
        found: dict[str, int] = {}
        while page := await self._bus.js.streams_info(offset=len(found)):
            before = len(found)
            found |= {info.config.name or "": info.state.consumer_count for info in page}
            if len(found) == before:
                break
        return found

    async def _has(self, stream: str, consumer: str) -> bool:
        try:
            await self._bus.js.consumer_info(stream, consumer)
        except NotFoundError:
            return False
        return True
