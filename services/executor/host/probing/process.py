"""The process that holds a probe: started with a plan, given deadlines, and ended for sure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from services.executor.host.probing.known import KNOWN, sources
from services.executor.host.probing.reading import Raw, Ready
from shared.errors import MachineError, SchedulerError
from shared.plain import plain
from shared.probes import MOST_SECONDS

if TYPE_CHECKING:
    from services.executor.host.probing.scope import Scope
    from shared.probes import ProbeName

CHILD: Final = Path(__file__).with_name("child.py")
PYTHON: Final = "/usr/bin/python3"
"""Debian's, which is the one that python3-bpfcc is for."""

COMPILE_S: Final = 150.0
"""Two seconds on a machine, twenty on an emulated one, and that one may be busy."""
WAIT_S: Final = 60.0
"""How long a prepared probe waits for its order."""
GRACE_S: Final = 30.0
"""To attach, to detach and to read tables, on an emulated machine that is full of hogs."""
_LIFETIME_S: Final = COMPILE_S + WAIT_S + MOST_SECONDS + GRACE_S
_LINE_BYTES: Final = 1 << 20
"""A thousand edges are 100 kB."""
_KEPT_BYTES: Final = 4096

_T = TypeVar("_T", bound=msgspec.Struct)


class Process(Protocol):
    """A probe that the kernel has taken."""

    @property
    def ready(self) -> Ready:
        """What was loaded."""
        ...

    async def watch(self, scope: Scope, seconds: float) -> Raw:
        """Attach it, for so long; once. Raises SchedulerError."""
        ...

    async def end(self) -> None:
        """Kill it. Its programs, tables and attachments go with it."""
        ...


class ProbeProcess:
    """The real one."""

    def __init__(self, probe: ProbeName, process: asyncio.subprocess.Process) -> None:
        self._probe = probe
        self._process = process
        self._ready = Ready(programs=[], maps=[], compile_s=0.0, cpu_s=0.0)
        self._stderr = b""
        self._draining = asyncio.create_task(self._drain())

    @classmethod
    async def start(cls, probe: ProbeName) -> ProbeProcess:
        """Compile it and show it to the verifier.

        Raises MachineError where there is no bcc, no headers or no such tracepoint, and
        SchedulerError if it cannot be compiled or loaded, or not in time.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *(PYTHON, "-I", str(CHILD)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                limit=_LINE_BYTES,
            )
        except OSError as error:
            raise MachineError(
                "a probe's process cannot be started", expected=PYTHON, got=str(error)
            ) from error
        self = cls(probe, process)
        try:
            plan = {
                "parent": os.getpid(),
                "sources": sources(probe),
                "attach": KNOWN[probe].attach,
                "lifetime_s": round(_LIFETIME_S),
            }
            self._ready = await self._ask(plan, Ready, COMPILE_S)
        except BaseException:
            await self.end()
            raise
        return self

    @property
    def ready(self) -> Ready:
        """What was loaded."""
        return self._ready

    async def watch(self, scope: Scope, seconds: float) -> Raw:
        """Attach it, for so long; once. Raises SchedulerError."""
        order = {**msgspec.to_builtins(scope), "seconds": seconds}
        return await self._ask(order, Raw, seconds + GRACE_S)

    async def end(self) -> None:
        """Kill it. Its programs, tables and attachments go with it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._draining

    async def _ask(self, said: dict[str, Any], kind: type[_T], within_s: float) -> _T:
        """One line to it, and its answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            async with asyncio.timeout(within_s):
                stdin.write(json.dumps(said).encode() + b"\n")
                await stdin.drain()
                line = await stdout.readline()
        except TimeoutError as error:
            raise self._failed(f"nothing within {within_s:g} s") from error
        except (OSError, ValueError) as error:
            raise self._failed(str(error)) from error
        if not line:
            # What it said last is whole only when it is gone.
            await self._process.wait()
            await self._draining
            raise self._failed(f"its process ended ({self._process.returncode})")
        answer = json.loads(line)
        if "problem" in answer and answer["kind"] == "unsupported":
            raise MachineError(
                f"the probe {self._probe} cannot run on this host",
                expected="bcc (python3-bpfcc), headers of its kernel, and the kernel's tracepoints",
                got=plain(str(answer["problem"]), 400),
                advice="docs/probes.md says what a host needs.",
            )
        if "problem" in answer:
            raise self._failed(str(answer["problem"]))
        return msgspec.convert(answer, kind)

    def _failed(self, why: str) -> SchedulerError:
        said = plain(self._stderr.decode("utf-8", "replace").strip(), 1200, keep="\n")
        return SchedulerError(
            f"the probe {self._probe} failed",
            expected="a program that the kernel takes, and figures",
            got=f"{plain(why, 400)}; {said}" if said else plain(why, 400),
        )

    async def _drain(self) -> None:
        """What it complains of; only the end is kept."""
        stderr = self._process.stderr
        assert stderr is not None
        while chunk := await stderr.read(_KEPT_BYTES):
            self._stderr = (self._stderr + chunk)[-_KEPT_BYTES:]
