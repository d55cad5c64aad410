"""A kernel that is made up: it takes every policy, keeps books, and lets go when it is told to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping

from bench.hosts.ledger import Ledger, NoLedger
from services.executor.host.exits import ExitKind, ExitRecord, diagnose
from services.executor.host.permit import Permit
from services.executor.host.scheduler import Attached, Departure, HostState
from services.executor.host.sysfs import KernelScheduler


class SimulatedKernel:
    """What the executor asks of a machine: see services.executor.host.scheduler.Scheduler."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._ledger = ledger or NoLedger()
        self._attached: Attached | None = None
        self._last: Departure | None = None
        self._left: asyncio.Queue[Departure] = asyncio.Queue()
        self.loads: list[str] = []
        """Every policy that was put in charge, by name."""

    async def apply(
        self,
        artifact: bytes,
        permit: Permit,
        *,
        name: str,
        timeout_ms: int,
        params: Mapping[str, int],
        frame: Mapping[str, int],
    ) -> Attached:
        """Put a policy in charge, at once, as far as the permit allows."""
        digest = hashlib.sha256(artifact).hexdigest()
        permit.use(digest, params)
        await self.revert(f"replaced by {name}")
        self._ledger.load(name, digest, permit.token)
        self.loads.append(name)
        self._attached = Attached(
            name=name,
            artifact_sha256=digest,
            params=dict(params),
            frame=dict(frame),
            timeout_ms=timeout_ms,
            enable_seq=len(self.loads),
            load_ns=0,
            attach_ns=0,
            gap_ns=0,
        )
        return self._attached

    async def revert(self, why: str) -> Departure | None:
        """Give the machine back to its default."""
        return self._leave(None, requested=True, why=why)

    def lose(self, kind: ExitKind, exit_code: int = 0) -> None:
        """The kernel lets go by itself; whoever watches hears of it."""
        record = ExitRecord(kind=kind, exit_code=exit_code, reason="", msg="", dump="")
        departure = self._leave(record, requested=False, why="")
        assert departure is not None
        self._left.put_nowait(departure)

    async def state(self) -> HostState:
        """What runs now."""
        ours = self._attached
        kernel = KernelScheduler(
            state="enabled" if ours else "disabled",
            enable_seq=len(self.loads),
            ops=ours.name if ours else None,
        )
        return HostState(kernel=kernel, ours=ours, last=self._last)

    async def counters(self) -> dict[str, int]:
        """What the frame counts: nothing ran, so nothing was counted."""
        return {}

    async def watch(self) -> AsyncGenerator[Departure, None]:
        """Whatever leaves by itself."""
        while True:
            yield await self._left.get()

    async def close(self) -> None:
        """Revert."""
        await self.revert("the executor is stopping")

    def _leave(self, record: ExitRecord | None, *, requested: bool, why: str) -> Departure | None:
        attached, self._attached = self._attached, None
        if attached is None:
            return None
        self._ledger.detach(attached.name, why)
        self._last = Departure(
            attached=attached,
            requested=requested,
            why=why,
            diagnosis=diagnose(record, requested=requested),
            exit_record=record,
        )
        return self._last
