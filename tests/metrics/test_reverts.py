"""What puts a host back on the default is counted by its cause.

Bus, executor, books and journal are real; only the kernel beneath is a stand-in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.executor.host.books import Entry, Kept
from services.executor.host.exits import ExitKind, ExitRecord, diagnose
from services.executor.host.journal import Journal
from services.executor.host.permit import Permit
from services.executor.host.scheduler import Attached, Departure, HostState
from services.executor.host.service import HostExecutor
from services.executor.host.steering import Steering
from services.executor.host.sysfs import KernelScheduler
from shared.bus import Bus
from shared.bus.provision import provision_host
from shared.messages import (
    DeployCommand,
    OptimizeRequest,
    RevertCommand,
    RevertRequest,
    SchedulerState,
)
from shared.metrics import declared
from shared.policies import Catalogue
from shared.telemetry import start_telemetry
from tests.executor.tokens import Desk, Signing, here_of, introduce, say, tokens_of
from tests.planner.world import inventory

ARTIFACT = b"object"


class StandIn:
    """A kernel that loads whatever it is given."""

    def __init__(self) -> None:
        self.ours: Attached | None = None
        self.departures: asyncio.Queue[Departure] = asyncio.Queue()

    async def apply(self, artifact: bytes, permit: Permit, **asked: Any) -> Attached:
        permit.use(sha256(artifact).hexdigest(), asked["params"])
        self.ours = Attached(
            name=asked["name"], artifact_sha256=sha256(artifact).hexdigest(), frame={},
            params=asked["params"], timeout_ms=asked["timeout_ms"],
            enable_seq=1, load_ns=1, attach_ns=1, gap_ns=0,
        )  # fmt: skip
        return self.ours

    async def revert(self, why: str) -> Departure | None:
        if self.ours is None:
            return None
        departure = self._departed(why, None, requested=True)
        self.ours = None
        return departure

    async def state(self) -> HostState:
        ops = self.ours.name if self.ours else None
        kernel = KernelScheduler(state="enabled" if ops else "disabled", enable_seq=1, ops=ops)
        return HostState(kernel=kernel, ours=self.ours)

    async def watch(self) -> AsyncGenerator[Departure, None]:
        while True:
            yield await self.departures.get()

    def let_go(self, kind: ExitKind) -> None:
        """The kernel ends the scheduler."""
        self.departures.put_nowait(self._departed("", ExitRecord(kind=kind), requested=False))
        self.ours = None

    def _departed(self, why: str, record: ExitRecord | None, *, requested: bool) -> Departure:
        assert self.ours is not None
        return Departure(
            attached=self.ours, requested=requested, why=why, exit_record=record,
            diagnosis=diagnose(record, requested=requested),
        )  # fmt: skip


class Host:
    """An executor that keeps a promoted candidate."""

    def __init__(self, bus: Bus, kernel: StandIn, executor: HostExecutor) -> None:
        self.bus = bus
        self.kernel = kernel
        self.executor = executor

    def reverts(self) -> dict[str, float]:
        counted = self.bus.metrics.numbers(declared.REVERTS)
        return {key[0]: value for key, value in counted.items() if value}


@pytest.fixture
async def host(bus: Bus, tmp_path: Path) -> AsyncIterator[Host]:
    await provision_host(bus.js, bus.subjects, "h1")
    kernel = StandIn()
    signing = Signing(tmp_path)
    desk = Desk(bus, signing)
    await introduce(bus, inventory("h1"))
    await desk.start()
    asked = await say(bus, OptimizeRequest(workload="pulse", hosts=["h1"]))
    here = here_of(inventory("h1"))

    async def report(state: SchedulerState) -> None:
        return

    with Journal[Entry](tmp_path / "journal", Entry) as journal:  # type: ignore[arg-type]
        tokens = tokens_of(bus, here, signing)
        steering = Steering(tokens, kernel, journal, tmp_path / "artifacts", report)  # type: ignore[arg-type]
        steering.cache(ARTIFACT)
        command = DeployCommand(
            optimization="o1", policy="fifo", version="1", request_sha256=asked,
            parameters=Catalogue.load()["fifo"].manifest.defaults,
            artifact=await desk.store(ARTIFACT, "fifo"),
        )  # fmt: skip
        steering.write(Kept(command, here.boot_id, time.time_ns()))
        async with start_telemetry("executor", "h1", publish=None) as telemetry:
            telemetry.metrics = bus.metrics
            executor = HostExecutor(bus, telemetry, steering)
            await executor.start()
            assert kernel.ours is not None
            watcher = asyncio.create_task(executor.keep())
            yield Host(bus, kernel, executor)
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await bus.rest()


async def counted(host: Host, wanted: dict[str, float]) -> None:
    async with asyncio.timeout(30):
        while host.reverts() != wanted:  # noqa: ASYNC110 - counting is nobody's event
            await asyncio.sleep(0.02)


async def test_an_operator_who_reverts_is_counted_once(host: Host) -> None:
    subject = host.bus.subjects.endpoint("executor", "revert", "h1")
    for _ in range(2):  # the second time nothing is left to be reverted
        request = RevertRequest(reason="cox revert")
        state = await host.bus.ask(subject, request, SchedulerState, timeout_s=20)
        assert not state.ours
    assert host.reverts() == {"operator": 1}


async def test_a_planner_who_takes_its_candidate_back_is_counted(host: Host) -> None:
    subject = host.bus.subjects.command("executor", "revert", "h1")
    for optimization in ("somebody-elses", "o1"):
        command = RevertCommand(optimization=optimization, reason="gave up")
        await host.bus.publish(subject, command, message_id=optimization)
    await counted(host, {"planner": 1})
    assert host.kernel.ours is None


async def test_a_scheduler_that_leaves_by_itself_is_counted(host: Host) -> None:
    host.kernel.let_go(ExitKind.STALL)
    await counted(host, {"departure": 1})
