"""One probe at a time: prepared, read, abandoned, expired. Its process is made up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.executor.host.probing import probes as module
from services.executor.host.probing.probes import Probes
from services.executor.host.probing.reading import Raw, Ready
from services.executor.host.probing.scope import Scope
from services.executor.loader.census import Ids
from shared.errors import InputError, MachineError, SchedulerError
from shared.messages import PrepareProbe, RunProbe
from shared.metrics import declared
from shared.probes import ProbeName
from shared.telemetry import Telemetry
from tests.probes.test_reading import raw

RUN_QUEUE = PrepareProbe(probe="run-queue")


class Process:
    """Counts for as long as it is let."""

    def __init__(self) -> None:
        self.ready = Ready(programs=[11], maps=[12, 13], compile_s=1.0, cpu_s=1.0)
        self.go_on = asyncio.Event()
        self.watched: tuple[Scope, float] | None = None
        self.ended = False

    async def watch(self, scope: Scope, seconds: float) -> Raw:
        self.watched = scope, seconds
        await self.go_on.wait()
        if self.ended:
            raise SchedulerError("the probe failed", got="its process ended")
        return raw([])

    async def end(self) -> None:
        self.ended = True
        self.go_on.set()


class Host:
    """A host's probes with everything around them made up."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.processes: list[Process] = []
        self.compiling = asyncio.Event()
        self.compiling.set()
        self.busy = ""
        self.left = Ids()
        self.looked_for: list[Ids] = []
        self.probes = Probes(
            telemetry, lambda: self.busy, self.start, self.gone, lambda _: Scope(group=5, level=1)
        )

    async def start(self, _probe: ProbeName) -> Process:
        process = Process()
        await self.compiling.wait()
        self.processes.append(process)
        return process

    def gone(self, ours: Ids) -> Ids:
        self.looked_for.append(ours)
        return self.left

    def counted(self, outcome: str) -> float:
        return self.telemetry.metrics.value(declared.PROBES, outcome=outcome)


@pytest.fixture
def host(telemetry: Telemetry) -> Host:
    return Host(telemetry)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is no event of ours
            await asyncio.sleep(0)


def order(session: str) -> RunProbe:
    return RunProbe(session=session, cgroup="/a", seconds=3.0)


async def test_a_probe_is_read_once_and_gone_afterwards(host: Host) -> None:
    prepared = await host.probes.prepare(RUN_QUEUE)
    (process,) = host.processes
    assert process.watched is None
    process.go_on.set()
    told = await host.probes.run(order(prepared.session))
    assert told.reading.probe == "run-queue"
    assert process.watched == (Scope(group=5, level=1), 3.0)
    assert process.ended
    assert host.looked_for == [Ids(programs=frozenset({11}), maps=frozenset({12, 13}))]
    with pytest.raises(SchedulerError, match="no such probe waits"):
        await host.probes.run(order(prepared.session))
    assert (host.counted("read"), host.counted("refused")) == (1, 1)


async def test_there_is_one_at_a_time(host: Host) -> None:
    host.compiling.clear()
    first = asyncio.create_task(host.probes.prepare(RUN_QUEUE))
    await asyncio.sleep(0)
    with pytest.raises(SchedulerError, match="another probe"):
        await host.probes.prepare(RUN_QUEUE)
    host.compiling.set()
    prepared = await first
    with pytest.raises(SchedulerError, match="another probe"):
        await host.probes.prepare(RUN_QUEUE)
    reading = asyncio.create_task(host.probes.run(order(prepared.session)))
    await until(lambda: host.processes[0].watched is not None)
    with pytest.raises(SchedulerError, match="another probe"):
        await host.probes.prepare(RUN_QUEUE)
    host.processes[0].go_on.set()
    await reading
    assert (await host.probes.prepare(RUN_QUEUE)).session != prepared.session
    await host.probes.abandon("the test is over")


async def test_none_runs_beside_a_trial(host: Host) -> None:
    host.busy = "a trial"
    with pytest.raises(SchedulerError, match="a trial"):
        await host.probes.prepare(RUN_QUEUE)


async def test_what_is_compiling_is_abandoned(host: Host) -> None:
    host.compiling.clear()
    preparing = asyncio.create_task(host.probes.prepare(RUN_QUEUE))
    await asyncio.sleep(0)
    await host.probes.abandon("a trial begins")
    with pytest.raises(SchedulerError, match="a trial begins"):
        await preparing
    host.compiling.set()
    await host.probes.prepare(RUN_QUEUE)
    await host.probes.abandon("the test is over")


async def test_what_is_attached_is_abandoned_and_looked_for(host: Host) -> None:
    prepared = await host.probes.prepare(RUN_QUEUE)
    reading = asyncio.create_task(host.probes.run(order(prepared.session)))
    await until(lambda: host.processes[0].watched is not None)
    await host.probes.abandon("a trial begins")
    with pytest.raises(SchedulerError, match="a trial begins"):
        await reading
    assert host.processes[0].ended
    assert len(host.looked_for) == 1


async def test_what_waits_is_abandoned(host: Host) -> None:
    prepared = await host.probes.prepare(RUN_QUEUE)
    await host.probes.abandon("a trial begins")
    assert host.processes[0].ended
    with pytest.raises(SchedulerError, match="no such probe waits"):
        await host.probes.run(order(prepared.session))


async def test_what_nobody_comes_for_is_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    await host.probes.prepare(RUN_QUEUE)
    await until(lambda: bool(host.looked_for))
    assert host.processes[0].ended
    await host.probes.prepare(RUN_QUEUE)
    await host.probes.abandon("the test is over")


async def test_something_that_is_left_in_the_kernel_is_an_error(host: Host) -> None:
    prepared = await host.probes.prepare(RUN_QUEUE)
    host.left = Ids(programs=frozenset({11}))
    host.processes[0].go_on.set()
    with pytest.raises(SchedulerError, match=r"left something in the kernel.*\[11\]"):
        await host.probes.run(order(prepared.session))
    assert host.counted("left") == 1


async def test_a_probe_whose_group_is_none_is_gone_all_the_same(host: Host) -> None:
    def nobody(cgroup: str) -> Scope:
        raise InputError("there is no such control group", got=cgroup)

    host.probes._scope = nobody
    prepared = await host.probes.prepare(RUN_QUEUE)
    with pytest.raises(InputError, match="no such control group"):
        await host.probes.run(order(prepared.session))
    assert host.processes[0].ended
    assert host.counted("failed") == 1


async def test_a_host_without_bcc_says_so(host: Host) -> None:
    async def none(_probe: ProbeName) -> Process:
        raise MachineError("the probe cannot run on this host", got="this host has no bcc")

    host.probes._start = none
    for _ in range(2):  # and is free for the next
        with pytest.raises(MachineError, match="no bcc"):
            await host.probes.prepare(RUN_QUEUE)
