"""One probe at a time on a host: prepared, attached for a while, gone.

In two steps, because compiling takes longer than many a workload runs: who asks has the probe
made ready first, starts the workload then, and has the probe attached to its control group.
Nothing of it is attached while it waits, and it does not wait for long.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from services.executor.host.probing.process import WAIT_S, ProbeProcess
from services.executor.host.probing.reading import reading
from services.executor.host.probing.scope import scope_of
from services.executor.loader.census import Ids, wait_gone
from shared import attributes as names
from shared.errors import CoxswainError, SchedulerError
from shared.messages import PreparedProbe, ProbeRun
from shared.metrics import declared
from shared.tasks import end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.executor.host.probing.process import Process
    from services.executor.host.probing.scope import Scope
    from shared.messages import PrepareProbe, RunProbe
    from shared.probes import ProbeName
    from shared.telemetry import Telemetry

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class Probes:
    """Of one host. `busy` says what else goes on that a probe would disturb, if anything does."""

    def __init__(
        self,
        telemetry: Telemetry,
        busy: Callable[[], str],
        start: Callable[[ProbeName], Awaitable[Process]] = ProbeProcess.start,
        gone: Callable[[Ids], Ids] = wait_gone,
        scope: Callable[[str], Scope] = scope_of,
    ) -> None:
        self._telemetry = telemetry
        self._busy = busy
        self._start = start
        self._gone = gone
        self._scope = scope
        self._work: asyncio.Task[Any] | None = None
        """What prepares a probe or reads one."""
        self._reading: _Waiting | None = None
        self._waiting: _Waiting | None = None
        self._why_ended = ""

    async def prepare(self, request: PrepareProbe) -> PreparedProbe:
        """Compile and verify. Raises SchedulerError, MachineError."""
        self._check_free()
        self._work = work = asyncio.create_task(self._begin(request.probe))
        try:
            process = await self._worked(work)
        finally:
            self._work = None
        session = f"probe-{uuid.uuid4().hex[:12]}"
        expiry = asyncio.create_task(self._expire(session))
        self._waiting = _Waiting(session, request.probe, process, expiry)
        return PreparedProbe(
            session=session, probe=request.probe, compile_s=process.ready.compile_s
        )

    async def run(self, request: RunProbe) -> ProbeRun:
        """Attach it, read it, and see that nothing is left. Raises SchedulerError, InputError."""
        waiting = self._waiting
        if waiting is None or waiting.session != request.session:
            self._count("refused")
            raise SchedulerError(
                "no such probe waits on this host",
                expected=f"one that was prepared within {WAIT_S:g} s, once",
                got=request.session,
                advice="Have it prepared again.",
            )
        self._waiting, self._reading = None, waiting
        self._work = work = asyncio.create_task(self._read(waiting, request))
        try:
            await end([waiting.expiry])
            return await self._worked(work)
        finally:
            self._work = self._reading = None

    async def abandon(self, why: str) -> None:
        """End whatever probe there is: something else comes first."""
        self._why_ended = why
        try:
            if self._work is not None:
                log.info("probe.abandoned", why=why)
            if self._work is not None and self._reading is not None:
                # It finds its process gone, and then looks what is left in the kernel.
                await self._reading.process.end()
                await asyncio.wait([self._work])
            elif self._work is not None:
                await end([self._work])
            await self._forget(why)
        finally:
            self._why_ended = ""

    async def _begin(self, probe: ProbeName) -> Process:
        return await self._start(probe)

    async def _read(self, waiting: _Waiting, request: RunProbe) -> ProbeRun:
        with self._telemetry.span(
            "probe",
            of=waiting.probe,
            attributes={names.PROBE_NAME: waiting.probe, names.PROBE_CGROUP: request.cgroup},
        ) as span:
            ready = waiting.process.ready
            try:
                scope = await asyncio.to_thread(self._scope, request.cgroup)
                raw = await waiting.process.watch(scope, request.seconds)
            finally:
                left = await self._end(waiting)
            if left:
                raise SchedulerError(
                    "a probe has left something in the kernel",
                    expected="nothing, once its process is gone",
                    got=str(left),
                    advice="`bpftool prog` and `bpftool map` show it, and who holds it.",
                )
            found = reading(waiting.probe, raw, ready, os.cpu_count() or 1)
            span.set(
                {
                    names.PROBE_COMPILE_S: found.cost.compile_s,
                    names.PROBE_KERNEL_SHARE: found.cost.kernel_share,
                    names.COST_WALL_S: found.seconds,
                    names.COST_CPU_S: found.cost.cpu_s + found.cost.kernel_s,
                }
            )
            return ProbeRun(reading=found)

    async def _worked(self, work: asyncio.Future[_T]) -> _T:
        """What comes of it; of a probe that was abandoned, why."""
        try:
            done = await work
        except (asyncio.CancelledError, CoxswainError) as error:
            if self._why_ended:
                self._count("failed")
                raise SchedulerError(
                    "the probe was ended", got=self._why_ended, advice="Ask again later."
                ) from None
            if isinstance(error, CoxswainError):
                self._count("failed")
            raise
        if isinstance(done, ProbeRun):
            self._count("read")
        return done

    async def _end(self, waiting: _Waiting) -> Ids:
        """Kill it, and say what the kernel still holds of it when patience is over."""
        await waiting.process.end()
        ready = waiting.process.ready
        ours = Ids(programs=frozenset(ready.programs), maps=frozenset(ready.maps))
        left = await asyncio.to_thread(self._gone, ours)
        if left:
            self._count("left")
            log.error("probe.left_behind", probe=waiting.probe, left=str(left))
        return left

    async def _expire(self, session: str) -> None:
        await asyncio.sleep(WAIT_S)
        waiting = self._waiting
        if waiting is not None and waiting.session == session:
            self._waiting = None
            log.info("probe.expired", probe=waiting.probe)
            await self._end(waiting)

    async def _forget(self, why: str) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            log.info("probe.abandoned", probe=waiting.probe, why=why)
            await end([waiting.expiry])
            await self._end(waiting)

    def _check_free(self) -> None:
        why = self._busy()
        if self._work is not None or self._waiting is not None:
            why = "another probe"
        if why:
            self._count("refused")
            raise SchedulerError(
                "no probe may run on this host now",
                expected="a host on which nothing else goes on that it would disturb",
                got=why,
                advice="Ask again later.",
            )

    def _count(self, outcome: str) -> None:
        self._telemetry.metrics.count(declared.PROBES, outcome=outcome)


class _Waiting:
    """A probe that is ready and not attached."""

    def __init__(
        self, session: str, probe: ProbeName, process: Process, expiry: asyncio.Task[None]
    ) -> None:
        self.session = session
        self.probe = probe
        self.process = process
        self.expiry = expiry
