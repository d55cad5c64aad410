"""The executor's end of the guard: signs of life out, the guard's doings in.

Each watches the other. The guard is present while it answers our beats; one that was stopped keeps
its socket open and is gone all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import structlog

from services.executor.guard.interventions import Intervention
from services.executor.guard.limits import ANSWER_S, BEAT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 256 * 1024
CONNECT_S = 0.25
"""How long to wait before the guard is looked for again."""

log = structlog.get_logger(__name__)


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What the executor says that it runs, or is about to load; all empty for nothing."""

    artifact: str = ""
    policy: str = ""
    optimization: str = ""


class LetGo(msgspec.Struct, frozen=True):
    """An operator on the host wants the default back."""

    reason: str


class Guardian(Protocol):
    """What the host role needs of its guard."""

    @property
    def present(self) -> bool:
        """Somebody watches: a policy may be loaded."""
        ...

    @property
    def running(self) -> Running:
        """What was said last."""
        ...

    def says(self, running: Running) -> None:
        """Tell at once what runs from now on."""
        ...


class NothingToGuard:
    """For a kernel that is made up (bench/hosts, tests): nothing can hang there."""

    present = True
    running = Running()

    def says(self, running: Running) -> None:
        """Nobody listens."""


class GuardLink:
    """Keeps the connection to the guard at `path`, from the event loop that it vouches for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self.running = Running()
        self._answered = False
        """On this connection."""
        self._heard = False
        """Since the last tick."""
        self._ticked_s = time.monotonic()
        self.alone_s = 0.0
        """For how long the guard has not answered, in ticks that this process lived through."""
        self.news: asyncio.Queue[Intervention | LetGo] = asyncio.Queue()
        """What it did, each once, and what an operator asks for through it."""
        self.welcomed = asyncio.Event()
        """Set once the guard has told what it did before."""

    @property
    def present(self) -> bool:
        """It is connected, and answers."""
        return self._answered and self.alone_s < ANSWER_S

    def tick(self) -> None:
        """Count its silence, every BEAT_S.

        Only as much as a tick may last: a process that was stopped has heard nobody in that time.
        """
        now_s = time.monotonic()
        passed_s, self._ticked_s = now_s - self._ticked_s, now_s
        self.alone_s = 0.0 if self._heard else self.alone_s + min(passed_s, 2 * BEAT_S)
        self._heard = False

    def says(self, running: Running) -> None:
        """Tell at once what runs from now on."""
        self.running = running
        if self._socket is not None:
            self._send(say="beat", running=msgspec.to_builtins(running))

    async def keep(self, seen: Callable[[], int]) -> None:
        """Be connected, for ever. `seen` gives the last intervention that was taken in."""
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                    connection.setblocking(False)
                    connection.connect(str(self._path))
                    self._socket = connection
                    running = msgspec.to_builtins(self.running)
                    self._send(say="hello", seen=seen(), running=running)
                    await self._talk(connection)
            except OSError as error:  # it is not there, or no descriptor is left for a socket
                log.debug("guard.absent", problem=str(error))
            finally:
                self._socket = None
                self._answered = False
            await asyncio.sleep(CONNECT_S)

    async def _talk(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        beating = asyncio.create_task(self._beat())
        try:
            while packet := await loop.sock_recv(connection, MAX_BYTES):
                self._heard = self._answered = True
                self.alone_s = 0.0
                message: dict[str, Any] = msgspec.json.decode(packet, type=dict[str, Any])
                match message:
                    case {"say": "welcome", "interventions": list(interventions)}:
                        log.info("guard.present", interventions=len(interventions))
                        for each in msgspec.convert(interventions, list[Intervention]):
                            self.news.put_nowait(each)
                        self.welcomed.set()
                    case {"say": "let-go", "reason": str(reason)}:
                        self.news.put_nowait(LetGo(reason))
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            self.says(self.running)
            await asyncio.sleep(BEAT_S)

    def _send(self, **message: Any) -> None:
        if self._socket is None:
            return
        # One that does not read, or has just gone, will be found out by who listens to it.
        with contextlib.suppress(OSError):
            self._socket.send(msgspec.json.encode(message))
