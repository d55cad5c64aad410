"""A way from this machine's loopback, which a guest reaches, to a port elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from shared.tasks import end

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK_BYTES = 1 << 16
_CONNECT_S = 5.0


class Way:
    """Passes connections to 127.0.0.1:`port` on to `host`, byte by byte: to `far_port`, or `port`.

    The name is looked up anew for every connection: a guest has no name service, and a container
    may come back with another address.
    """

    def __init__(self, host: str, port: int, far_port: int = 0) -> None:
        self._host = host
        self._port = port
        self._far_port = far_port or port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.open = 0
        """Connections that stand at both ends now."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await end([*self._passing])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            # Cancelled is how `__aexit__` ends it; before 3.12 asyncio takes that for a failure.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            self._passing.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_CONNECT_S):
            far_reader, far_writer = await asyncio.open_connection(self._host, self._far_port)
        self.open += 1
        ways = [
            asyncio.create_task(_copy(reader, far_writer)),
            asyncio.create_task(_copy(far_reader, writer)),
        ]
        try:
            # A connection whose one end is gone is of no use to the other.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
