"""Who is at the other end of the guard's socket: messages are JSON objects, one a packet."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

SO_PEERPIDFD = 77
"""include/uapi/asm-generic/socket.h, from Linux 6.5 on: a handle that no other process can get."""
MAX_BYTES = 128 * 1024
_CREDENTIALS = struct.Struct("3i")


class Peer:
    """A connection. `pid` and `uid` are the kernel's word, not the other side's."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        self.pid, self.uid, _ = _CREDENTIALS.unpack(credentials)
        self._pidfd = -1
        self.running: dict[str, Any] = {}
        """What an executor says that it runs."""

    @property
    def trusted(self) -> bool:
        """Root, or who the guard itself runs as."""
        return self.uid in {0, os.geteuid()}

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self.socket.fileno() < 0

    @property
    def process(self) -> tuple[int, int]:
        """Its pid and a pidfd. Raises OSError if it has ended."""
        if self._pidfd < 0:
            self._pidfd = self.socket.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        return self.pid, self._pidfd

    def read(self) -> dict[str, Any] | None:
        """The next message; None at the end of the connection. Raises BlockingIOError."""
        try:
            packet = self.socket.recv(MAX_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return None
        if not packet:
            return None
        try:
            message = json.loads(packet)
        except ValueError:
            return {}
        return message if isinstance(message, dict) else {}

    def tell(self, **message: Any) -> None:
        """Send, and wait for nobody: who does not read loses it."""
        try:
            self.socket.send(json.dumps(message).encode())
        except OSError:
            return

    def close(self) -> None:
        """End the connection."""
        self.socket.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
