"""A running guest: asked to run things, and stopped."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import re
import shlex
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.errors import MachineError
from shared.microvm.process import ProcessId, processes_in
from shared.microvm.sockets import Agent, Monitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_STATE = "machine.json"
_POLL_FIRST_S = 0.01
_POLL_LAST_S = 0.25
_READ_BYTES = 2**20
_MOST_BYTES = 16 * 2**20
_CONSOLE_TAIL_BYTES = 4000
_TERMINAL_CODES = re.compile(r"\x1b(?:\[[^a-zA-Z]*[a-zA-Z]|\][^\x07]*\x07|c)")
_GUEST_ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "PYTHONPATH=/opt/coxswain/src:/opt/coxswain/lib",
]


_SHORTEST_SECOND_S = 0.8
_STALE_CODE = b"Oops: int3"
"""The kernel patches its code under a breakpoint. Where CPUs are emulated on several threads, one
now and then still runs what was translated with the breakpoint when that is over: seen three times
in thousands of boots and loads with QEMU 10.0.2, the instruction in memory being whole again."""


class EmulationError(MachineError):
    """What an emulator does to a guest now and then: boot it again."""


class Finished(NamedTuple):
    """How a command in a guest ended."""

    exit_code: int
    output: str


class GuestState(msgspec.Struct, frozen=True, kw_only=True):
    """What is written beside a running guest, so that another process can find it."""

    name: str
    process: ProcessId
    cpus: int
    memory_mb: int
    image_key: str
    accel: str
    started_at: float
    detached: bool = False
    """Whether it lives on without the process that started it."""

    @classmethod
    def read(cls, directory: Path) -> GuestState | None:
        """What runs, or ran, in a guest's directory; None if nothing was started there."""
        try:
            return msgspec.json.decode((directory / _STATE).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, directory: Path) -> None:
        """Leave it there, whole or not at all."""
        partial = directory / f"{_STATE}.partial"
        partial.write_bytes(msgspec.json.encode(self))
        partial.rename(directory / _STATE)


class Guest:
    """A guest whose files are in `directory`, whoever started it."""

    def __init__(self, name: str, directory: Path, process: ProcessId | None = None) -> None:
        self.name = name
        self.directory = directory
        self._process = process
        self._agent: Agent | None = None
        self._agent_opening = asyncio.Lock()

    @classmethod
    def attach(cls, directory: Path) -> Guest:
        """The guest that another process started there. Raises MachineError if none runs."""
        state = GuestState.read(directory)
        if state is None or not state.process.alive:
            raise MachineError(
                f"No guest runs in {directory}",
                expected="a running guest's state",
                got="nothing" if state is None else "the state of one that ended",
                advice="Start it with `cox lab up`.",
            )
        return Guest(state.name, directory, state.process)

    async def wait_ready(self, timeout_s: float = 120.0) -> None:
        """Return once the guest runs commands and its units have been started."""
        deadline_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_for_agent()
        except TimeoutError as error:
            raise MachineError(
                f"Guest {self.name} did not become ready",
                expected=f"its agent to answer within {timeout_s:.0f} s",
                got=f"silence; its console ends with: {self.console_tail()}",
                advice="A machine busy with other work boots slowly: try again when it is idle.",
            ) from error
        left_s = max(deadline_s - time.monotonic(), 1.0)
        await self.run(["systemctl", "is-system-running", "--wait"], timeout_s=left_s)
        await self._check_clock()

    async def _check_clock(self) -> None:
        """Raise EmulationError if the guest's clock runs far too fast, as one boot in many does.

        The guest calibrates its TSC while it boots; an emulated one that is descheduled in that
        moment gets it wrong by a factor, and whatever it measures afterwards is void.
        """
        began_s = time.monotonic()
        await self.run(["sleep", "1"], timeout_s=120.0)
        took_s = time.monotonic() - began_s
        if took_s < _SHORTEST_SECOND_S:
            raise EmulationError(
                f"Guest {self.name}'s clock is wrong",
                expected="its second to take a second",
                got=f"{took_s:.2f} s",
                advice="Boot it again.",
            )

    async def stop(self) -> None:
        """End the guest. Harmless if it already ended."""
        await self.close()
        if self._process is not None and self._process.alive:
            with contextlib.suppress(OSError, MachineError, TimeoutError):
                async with asyncio.timeout(2.0):
                    monitor = await Monitor.open(self.directory / "qmp.sock")
                    async with monitor:
                        await monitor.greet()
                        await monitor.ask("quit")
                    await self._gone()
            self._process.kill()
        # A start that was interrupted has not noted its process yet.
        for process in processes_in(self.directory):
            process.kill()

    async def power_off(self, timeout_s: float = 10.0) -> None:
        """Let the guest stop its services, then end it."""
        with contextlib.suppress(OSError, MachineError, TimeoutError):
            await self.run(["systemctl", "poweroff", "--no-block"], timeout_s=timeout_s)
            async with asyncio.timeout(timeout_s):
                await self._gone()
        await self.stop()

    async def close(self) -> None:
        """Stop talking to it; it runs on."""
        if self._agent is not None:
            await self._agent.close()
            self._agent = None

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process is not None and self._process.alive

    # Use ----------------------------------------------------------------------------------

    async def run(self, command: str | Sequence[str], *, timeout_s: float) -> Finished:
        """Run a command as root and return its exit code and output (both streams, as text).

        A string goes to bash. Past `timeout_s` the command and its process group are killed
        and TimeoutError is raised. Raises MachineError if the guest is gone.
        """
        words = ["bash", "-c", command] if isinstance(command, str) else list(command)
        # The guest ends it a little later than we give up, whether or not we are still there.
        limit = str(math.ceil(timeout_s) + 1)
        async with self._asking(repr(shlex.join(words)), timeout_s) as agent:
            started = await agent.ask(
                "guest-exec",
                path="timeout",
                arg=["--signal=KILL", limit, *words],
                env=_GUEST_ENVIRONMENT,
                **{"capture-output": "merged"},
            )
            pause_s = _POLL_FIRST_S
            while True:
                status = await agent.ask("guest-exec-status", pid=started["pid"])
                if status["exited"]:
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _POLL_LAST_S)
        if status.get("out-truncated"):
            raise MachineError(
                f"A command in guest {self.name} printed too much",
                expected="at most 16 MiB of output",
                got="more",
                advice="Write it to a file in the guest and fetch the part that is needed.",
            )
        code = status.get("exitcode", 128 + status.get("signal", 0))
        output = base64.b64decode(status.get("out-data", ""))
        return Finished(code, output.decode(errors="replace"))

    async def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Write a file in the guest, with its directories. Raises MachineError if it cannot be."""
        quoted = shlex.quote(path)
        code, output = await self.run(
            f'mkdir -p "$(dirname {quoted})" && install -m {mode:o} /dev/null {quoted}',
            timeout_s=60.0,
        )
        if code != 0:
            raise MachineError(
                f"A file cannot be written in guest {self.name}", expected=path, got=output.strip()
            )
        # Not through a command's input, nor `get` through its output alone: with these the agent
        # mixes up descriptors now and then, and a file is empty or a command never ends.
        async with self._asking(f"writing {path}", 60.0) as agent:
            handle = await agent.ask("guest-file-open", path=path, mode="w")
            data = base64.b64encode(content).decode()
            written = await agent.ask("guest-file-write", **{"handle": handle, "buf-b64": data})
            await agent.ask("guest-file-close", handle=handle)
        if written["count"] != len(content):
            raise MachineError(
                f"A file cannot be written in guest {self.name}",
                expected=f"{len(content)} bytes in {path}",
                got=f"{written['count']}",
                advice="See whether its disk is full: df in `cox lab shell`.",
            )

    async def get(self, path: str) -> bytes:
        """Read a file of the guest, up to 16 MiB. Raises MachineError, TimeoutError."""
        content = b""
        async with self._asking(f"reading {path}", 60.0) as agent:
            handle = await agent.ask("guest-file-open", path=path, mode="r")
            try:
                while len(content) <= _MOST_BYTES:
                    read = await agent.ask("guest-file-read", handle=handle, count=_READ_BYTES)
                    content += base64.b64decode(read["buf-b64"])
                    if read["eof"]:
                        return content
            finally:
                await agent.ask("guest-file-close", handle=handle)
        raise MachineError(
            f"A file in guest {self.name} is too large",
            expected=f"at most {_MOST_BYTES} bytes",
            got=f"more in {path}",
        )

    def console_tail(self) -> str:
        """The last lines of the guest's console."""
        text = self._console()[-_CONSOLE_TAIL_BYTES:]
        lines = _TERMINAL_CODES.sub("", text.decode(errors="replace")).splitlines()
        return "\n".join(line.rstrip() for line in lines if line.strip())

    # Inside -------------------------------------------------------------------------------

    def _console(self) -> bytes:
        try:
            return (self.directory / "console.log").read_bytes()
        except OSError:
            return b""

    async def _gone(self) -> None:
        while self.alive:  # noqa: ASYNC110  -- another process may have started it
            await asyncio.sleep(0.02)

    def _check_alive(self) -> None:
        if not self.alive:
            if _STALE_CODE in self._console():
                raise EmulationError(
                    f"Guest {self.name} is gone: its emulator ran code that was no longer there",
                    expected="a breakpoint that its kernel has taken back to be gone",
                    got="its kernel's end by that (int3)",
                    advice="Boot it again.",
                )
            log = self.directory / "qemu.log"
            said = log.read_text(errors="replace").strip() if log.exists() else ""
            raise MachineError(
                f"Guest {self.name} is gone",
                expected="a running QEMU",
                got=said or self.console_tail() or "no process",
                advice=f"Its console and QEMU's messages are in {self.directory}.",
            )

    async def _wait_for_agent(self) -> None:
        """Wait until the guest has opened the agent's port: QEMU knows."""
        while True:
            self._check_alive()
            try:
                async with await Monitor.open(self.directory / "qmp.sock") as monitor:
                    await monitor.greet()
                    if await self._agent_listens(monitor):
                        return
            except OSError:
                # Not listening yet, or gone: the next look at the process tells.
                pass
            await asyncio.sleep(0.05)

    async def _agent_listens(self, monitor: Monitor) -> bool:
        devices = await monitor.ask("query-chardev")
        return any(d["label"] == "agent" and d["frontend-open"] for d in devices)

    async def _connected_agent(self) -> Agent:
        async with self._agent_opening:
            if self._agent is None:
                self._check_alive()
                agent = await Agent.open(self.directory / "agent.sock")
                try:
                    await agent.greet()
                except BaseException:
                    await agent.close()
                    raise
                self._agent = agent
            return self._agent

    @contextlib.asynccontextmanager
    async def _asking(self, what: str, timeout_s: float) -> AsyncIterator[Agent]:
        """The agent, for one exchange. Raises TimeoutError past it, MachineError if it is gone."""
        try:
            async with asyncio.timeout(timeout_s):
                yield await self._connected_agent()
        except TimeoutError as error:
            raise TimeoutError(f"{what} in guest {self.name} ran past {timeout_s} s") from error
        except (OSError, EOFError) as error:
            await self.close()
            # A QEMU that is just ending hangs up first.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._gone()
            self._check_alive()
            raise MachineError(
                f"Guest {self.name} does not answer",
                expected="an answer from its agent",
                got=str(error),
                advice=f"Its console is {self.directory / 'console.log'}.",
            ) from error
