"""Commands that run behind the fence: limited, watched, and gone when they should be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from services.observer import fence
from services.observer.cgroups import Cgroup, make_cgroup

if TYPE_CHECKING:
    from asyncio import StreamReader
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path

OUTPUT_LIMIT_BYTES: Final = 1 << 20
"""A command that writes more than this to stdout or stderr is killed."""
TAIL_BYTES: Final = 64 << 10
"""Of each stream this much is kept, from its end."""
_KILL_DEADLINE_S: Final = 5.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the fence tells: one of the first three, or none when the command was cut off."""

    exit: int | None = None
    signal: int | None = None
    error: str = ""
    cpu_s: float = 0.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended, and the last of what it wrote."""

    report: Report
    seconds: float
    timed_out: bool
    flooded: bool
    stdout: str
    stderr: str


class Fenced:
    """One command that runs. Always `close` it."""

    def __init__(
        self, process: Process, cgroup: Cgroup | None, report: int, timeout_s: float
    ) -> None:
        self._process = process
        self._cgroup = cgroup
        self._report = report
        self._began_s = time.monotonic()
        self._flooded = False
        self._ended = asyncio.create_task(self._watch(timeout_s))

    @classmethod
    async def start(cls, argv: Sequence[str], work: Path, timeout_s: float) -> Fenced:
        """Start `argv` in `work`, with an environment of its own and no input."""
        cgroup = make_cgroup(f"workload-{uuid.uuid4().hex[:12]}-{os.getpid()}")
        procs = str(cgroup.path / "cgroup.procs") if cgroup else ""
        report, report_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", fence.__file__),
                *(str(os.getpid()), str(report_end), procs),
                *argv,
                cwd=work,
                env={"PATH": _PATH, "HOME": str(work), "TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(report_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(report)
            if cgroup:
                cgroup.remove()
            raise
        finally:
            os.close(report_end)
        return cls(process, cgroup, report, timeout_s)

    @property
    def cgroup(self) -> Path | None:
        """The command's own control group, where there is one."""
        return self._cgroup.path if self._cgroup else None

    def pids(self) -> list[int]:
        """Its processes now, the fence not among them."""
        if self._cgroup:
            return self._cgroup.pids()
        return fence.descendants(self._process.pid)

    async def end(self) -> Ended:
        """Wait until it has ended by itself, by its timeout or by its flood of output."""
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        """Kill what still runs and leave nothing behind."""
        closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _close(self) -> None:
        if self._report < 0:
            return
        await self._kill()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ended
        os.close(self._report)
        self._report = -1
        if self._cgroup:
            await asyncio.to_thread(self._cgroup.remove)

    async def _kill(self) -> None:
        """The fence kills all and goes; the kernel does it should the fence not."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        if self._cgroup:
            self._cgroup.kill()
        try:
            async with asyncio.timeout(_KILL_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _watch(self, timeout_s: float) -> Ended:
        assert self._process.stdout
        assert self._process.stderr
        reading = asyncio.gather(self._tail(self._process.stdout), self._tail(self._process.stderr))
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            timed_out = True
            await self._kill()
        seconds = time.monotonic() - self._began_s
        stdout, stderr = await reading
        return Ended(
            report=self._read_report(),
            seconds=seconds,
            timed_out=timed_out,
            flooded=self._flooded,
            stdout=stdout,
            stderr=stderr,
        )

    async def _tail(self, stream: StreamReader) -> str:
        kept, total = b"", 0
        while chunk := await stream.read(TAIL_BYTES):
            total += len(chunk)
            kept = (kept + chunk)[-TAIL_BYTES:]
            if total > OUTPUT_LIMIT_BYTES and not self._flooded:
                self._flooded = True
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGTERM)
        return kept.decode(errors="replace")

    def _read_report(self) -> Report:
        told = os.read(self._report, 64 << 10)
        return msgspec.json.decode(told, type=Report) if told else Report()
