"""The two sockets through which a guest is driven: QEMU's monitor and its guest agent.

Both speak one JSON object a line. QMP: qemu-qmp-ref(7); agent: qemu-ga-ref(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from typing import TYPE_CHECKING, Any, Self

from shared.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

# The agent answers with a command's whole output in one line: at most 16 MiB of it, in base64,
# for each of the two streams.
_LINE_LIMIT = 64 * 2**20


async def open_socket(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a guest's socket, however long its path. Raises OSError if nobody listens."""
    # An address has room for 107 bytes; a descriptor of the directory makes any path short.
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(
            f"/proc/self/fd/{directory}/{path.name}", limit=_LINE_LIMIT
        )
    finally:
        os.close(directory)


class JsonSocket:
    """One connection; requests from several tasks take turns, each answered before the next."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Connect. Raises OSError if nobody listens."""
        return cls(*await open_socket(path))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Run one command and return its answer. Raises MachineError, OSError."""
        # A caller cancelled between question and answer would leave its answer to the next.
        exchange = asyncio.ensure_future(self._exchange(command, arguments))
        exchange.add_done_callback(_retrieve)
        return await asyncio.shield(exchange)

    async def _exchange(self, command: str, arguments: dict[str, Any]) -> Any:
        async with self._turn:
            await self._send({"execute": command, "arguments": arguments})
            return await self._answer(command)

    async def _answer(self, command: str) -> Any:
        while True:
            message = await self._receive()
            if "error" in message:
                raise MachineError(
                    f"The guest's {command} failed",
                    expected="an answer",
                    got=str(message["error"].get("desc", message["error"])),
                )
            if "return" in message:
                return message["return"]

    async def _send(self, message: dict[str, Any], prefix: bytes = b"") -> None:
        self._writer.write(prefix + json.dumps(message).encode() + b"\n")
        await self._writer.drain()

    async def _receive(self) -> dict[str, Any]:
        line = await self._reader.readline()
        if not line:
            raise ConnectionResetError("the guest hung up")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message


class Monitor(JsonSocket):
    """QEMU's own monitor."""

    async def greet(self) -> None:
        """Leave the negotiation mode a new connection is in."""
        await self._receive()
        await self.ask("qmp_capabilities")


class Agent(JsonSocket):
    """The agent in the guest."""

    _ids = itertools.count(int.from_bytes(os.urandom(3), "big"))

    async def greet(self) -> None:
        """Skip whatever an earlier client left on the line."""
        mark = next(self._ids)
        async with self._turn:
            await self._send(
                {"execute": "guest-sync-delimited", "arguments": {"id": mark}}, prefix=b"\xff"
            )
            while True:
                line = (await self._reader.readline()).rpartition(b"\xff")[2]
                if not line:
                    raise ConnectionResetError("the guest hung up")
                with contextlib.suppress(ValueError):
                    if json.loads(line).get("return") == mark:
                        return


def _retrieve(exchange: asyncio.Future[Any]) -> None:
    """Take note of an error nobody waits for any more."""
    if not exchange.cancelled():
        exchange.exception()
