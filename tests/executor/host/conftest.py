"""A host role on a real bus, above a kernel that only keeps books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.hosts.kernel import SimulatedKernel
from services.executor.host.books import Entry
from services.executor.host.journal import Journal
from services.executor.host.service import HostExecutor
from services.executor.host.steering import Steering
from shared.bus import Bus
from shared.bus.provision import provision_host
from shared.messages import Artifact, DeployCommand, SchedulerState
from shared.telemetry import start_telemetry

HOST = "h1"
OBJECT = b"an object that only its hash is known of"


class PaperScheduler(SimulatedKernel):
    """The kernel always says yes, counts, and lets go when a test says so."""

    async def counters(self) -> dict[str, int]:
        return {} if self._attached is None else {"enqueues": 7}


class Rig:
    """One executor with its parts in reach."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self.bus = bus
        self.kernel = PaperScheduler()
        self._journal = Journal[Entry](folder / "journal", Entry)  # type: ignore[arg-type]
        self.steering = Steering(
            HOST,
            "boot",
            self.kernel,  # type: ignore[arg-type]
            self._journal,
            folder / "artifacts",
            self._report,
        )
        self.telemetry = start_telemetry("executor", HOST, publish=None)
        self.executor = HostExecutor(bus, self.telemetry, self.steering)
        self.reports: list[SchedulerState] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def _report(self, state: SchedulerState) -> None:
        self.reports.append(state)

    async def start(self) -> None:
        await self.executor.start()
        self._tasks = [
            asyncio.create_task(self.executor.watch()),
            asyncio.create_task(self.executor.keep_lease()),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.bus.rest()
        self._journal.close()
        await self.telemetry.shutdown()


@pytest.fixture
async def rig(bus: Bus, tmp_path: Path) -> AsyncIterator[Rig]:
    await provision_host(bus.js, bus.subjects, HOST)
    rig = Rig(bus, tmp_path)
    await rig.start()
    yield rig
    await rig.stop()


@pytest.fixture
async def deploy(bus: Bus) -> DeployCommand:
    return await deployable(bus)


async def deployable(bus: Bus) -> DeployCommand:
    """A command that can be carried out."""
    return DeployCommand(
        optimization="o1",
        policy="latency",
        version="1.0.0",
        parameters={"x": 1},
        artifact=Artifact(
            sha256=await bus.put_artifact(OBJECT),
            size_bytes=len(OBJECT),
            policy="latency",
            version="1.0.0",
            source_sha256="b" * 64,
            toolchain="clang",
        ),
        soak_s=0.05,
    )
