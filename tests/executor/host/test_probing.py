"""Probes as they are asked for on the bus, and what comes before them."""

from __future__ import annotations

import msgspec
import pytest

from shared.errors import MessageError, RemoteError
from shared.messages import (
    DeployCommand,
    Deployed,
    PreparedProbe,
    PrepareProbe,
    ProbeRun,
    RunProbe,
    decode,
)
from tests.executor.host.conftest import HOST, Rig
from tests.executor.host.test_deployments import said, send
from tests.probes.test_probes import Host


@pytest.fixture
def host(rig: Rig) -> Host:
    """The rig's executor, above processes that are made up."""
    made_up = Host(rig.telemetry)
    rig.executor._probes._start = made_up.start
    rig.executor._probes._gone = made_up.gone
    return made_up


async def prepare(rig: Rig) -> PreparedProbe:
    subject = rig.bus.subjects.endpoint("executor", "prepare", HOST)
    return await rig.bus.ask(subject, PrepareProbe(probe="wakes"), PreparedProbe, timeout_s=10)


async def run(rig: Rig, session: str) -> ProbeRun:
    subject = rig.bus.subjects.endpoint("executor", "probe", HOST)
    request = RunProbe(session=session, cgroup="/", seconds=1.0)
    return await rig.bus.ask(subject, request, ProbeRun, timeout_s=10)


async def test_a_probe_is_prepared_and_read_over_the_bus(rig: Rig, host: Host) -> None:
    prepared = await prepare(rig)
    host.processes[0].go_on.set()
    told = await run(rig, prepared.session)
    assert told.reading.probe == "wakes"
    assert host.processes[0].ended


async def test_a_deployment_comes_before_a_probe(
    rig: Rig, host: Host, deploy: DeployCommand
) -> None:
    prepared = await prepare(rig)
    await send(rig, "deploy", deploy)
    (deployed,) = await said(rig, "deployed", Deployed)
    assert deployed.problem is None
    assert host.processes[0].ended
    with pytest.raises(RemoteError, match="no such probe waits"):
        await run(rig, prepared.session)


async def test_no_probe_is_prepared_while_something_is_tried(rig: Rig, host: Host) -> None:
    async with rig.executor._turn:
        with pytest.raises(RemoteError, match="a trial or a deployment"):
            await prepare(rig)
    assert host.processes == []


async def test_an_executor_that_stops_leaves_no_probe(rig: Rig, host: Host) -> None:
    await prepare(rig)
    await rig.executor.close()
    assert host.processes[0].ended


def test_a_request_can_say_no_more_than_a_name_a_group_and_a_time() -> None:
    for wrong in (
        {"type": "prepare_probe", "probe": "int main() {}"},
        {"type": "prepare_probe"},
    ):
        with pytest.raises(MessageError):
            decode(msgspec.json.encode(wrong), PrepareProbe)
    order = {"type": "run_probe", "session": "s", "cgroup": "/", "seconds": 1.0}
    assert decode(msgspec.json.encode(order), RunProbe).seconds == 1.0
    for wrong in (
        {"seconds": 31.0},
        {"seconds": 0.0},
        {"session": "../s"},
        {"cgroup": "x" * 2000},
    ):
        with pytest.raises(MessageError):
            decode(msgspec.json.encode(order | wrong), RunProbe)
