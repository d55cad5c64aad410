"""A host role on a real bus, above a kernel that only keeps books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bench.hosts.kernel import SimulatedKernel
from services.executor.host.books import Entry
from services.executor.host.journal import Journal
from services.executor.host.service import HostExecutor
from services.executor.host.steering import Steering
from shared.bus import Bus
from shared.bus.provision import provision_host
from shared.messages import (
    DeployCommand,
    Inventory,
    Objective,
    OptimizeRequest,
    SchedulerState,
    TrialCommand,
    TrialSpec,
)
from shared.policies import Catalogue
from shared.tasks import end
from shared.telemetry import start_telemetry
from tests.executor.tokens import Desk, Signing, here_of, introduce, say, tokens_of
from tests.planner.world import inventory as inventory_of

HOST = "h1"
INVENTORY = inventory_of(HOST)
OBJECT = b"an object that only its hash is known of"


class PaperScheduler(SimulatedKernel):
    """The kernel always says yes, counts, and lets go when a test says so."""

    async def counters(self) -> dict[str, int]:
        return {} if self._attached is None else {"enqueues": 7}


class Rig:
    """One executor with its parts in reach, and a gate that it may ask."""

    def __init__(self, bus: Bus, folder: Path, inventory: Inventory = INVENTORY) -> None:
        self.bus = bus
        self.folder = folder
        self.signing = Signing(folder)
        self.desk = Desk(bus, self.signing)
        self.inventory = inventory
        self.kernel = PaperScheduler()
        self._journal = Journal[Entry](folder / "journal", Entry)  # type: ignore[arg-type]
        self.steering = Steering(
            tokens_of(bus, here_of(inventory), self.signing),
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

    async def start(self, *, gate: bool = True) -> None:
        if gate:
            await introduce(self.bus, self.inventory)
            await self.desk.start()
        await self.executor.start()
        self._tasks = [asyncio.create_task(self.executor.keep())]

    async def stop(self) -> None:
        await end(self._tasks)
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
async def deploy(rig: Rig) -> DeployCommand:
    return await deployable(rig)


def trial_of(deploy: DeployCommand, **changes: Any) -> TrialCommand:
    """A trial of what `deploy` would deploy, asked for by the same client."""
    trial = TrialCommand(
        optimization="o1",
        trial="o1-t1",
        policy=deploy.policy,
        version=deploy.version,
        parameters=deploy.parameters,
        artifact=deploy.artifact,
        workload="pulse",
        spec=TrialSpec(objective=Objective(metric="p99", direction="lower"), max_pairs=8),
        seed=1,
        washout_s=0.0,
        measure_timeout_s=5.0,
        request_sha256=deploy.request_sha256,
    )
    return replace(trial, **changes)


async def deployable(rig: Rig) -> DeployCommand:
    """A command that can be carried out: asked for by a client, built by the gate."""
    return DeployCommand(
        optimization="o1",
        policy="latency",
        version="1.0.0",
        parameters=Catalogue.load()["latency"].manifest.defaults,
        artifact=await rig.desk.store(OBJECT, "latency"),
        soak_s=0.05,
        request_sha256=await say(rig.bus, OptimizeRequest(workload="pulse", hosts=[HOST])),
    )
