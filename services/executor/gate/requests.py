"""What operators and clients have asked for, by the hash of the bytes they said it with.

Only they may publish requests, but JetStream sends a stream's messages wherever whoever may read it
says: a stolen key can have a message of its own making put among the requests. Such a one has the
subject of the stream that it came from, or that stream's name in its headers (nats-server adds
them to what is got directly), and does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING

from services.executor.gate.leave import DAY_S, SECOND_NS, Asked
from shared.bus.provision import REQUEST_DAYS
from shared.errors import MessageError
from shared.messages import OptimizeRequest, decode

if TYPE_CHECKING:
    from shared.bus import Bus

FRESH_NS = 3600 * SECOND_NS
"""The same words may have been said again since: older ones are looked for once more."""
KEEP_NS = int(REQUEST_DAYS * DAY_S) * SECOND_NS


class Requests:
    """The stream of requests as far as it has been read; what is missing is read when asked for."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: dict[str, Asked] = {}
        self._next, self._born = 1, ""
        """Where to read on, and when the stream was made that this is of."""
        self._reading = asyncio.Lock()

    async def find(self, sha256: str) -> Asked | None:
        """The request with these bytes, if one is kept. Raises BusError."""
        async with self._reading:
            known = self._known.get(sha256)
            if known is None or time.time_ns() - known.unix_ns > FRESH_NS:
                await self._read_on()
            return self._known.get(sha256)

    async def _read_on(self) -> None:
        # By the server's clock alone: what ours would make forget now would never be read again.
        oldest = max((asked.unix_ns for asked in self._known.values()), default=0) - KEEP_NS
        self._known = {
            digest: asked for digest, asked in self._known.items() if asked.unix_ns > oldest
        }
        subjects = self._bus.subjects
        async for kept in self._bus.requests_from(self._next, self._born):
            self._next, self._born = kept.sequence + 1, kept.born
            if kept.genuine and kept.subject in {subjects.optimize, subjects.allow}:
                with contextlib.suppress(MessageError):
                    request = decode(kept.data, OptimizeRequest)
                    digest = hashlib.sha256(kept.data).hexdigest()
                    self._known[digest] = Asked(request=request, unix_ns=kept.unix_ns)
