"""Three servers keep everything together; one is killed in the middle of a rollout."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.hosts.agents import Agents
from services.executor.gate.service import gate_role
from services.learner.service import learner
from services.planner.service import planner
from shared.bus import Bus, connect
from shared.bus.provision import provision, provision_host, when_ready
from shared.bus.server import NatsCluster, NatsServer
from shared.errors import BusError
from shared.messages import (
    Budget,
    OptimizeReply,
    OptimizeRequest,
    SchedulerState,
    StateRequest,
)
from shared.optimization import Optimization
from shared.settings import Settings
from shared.subjects import Service, Subjects
from shared.telemetry import start_telemetry
from tests.executor.tokens import Signing

HOSTS = ["h1", "h2", "h3", "h4"]
PATIENCE_S = 240.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "bus") as cluster:
        yield cluster


@pytest.fixture
async def fleet(cluster: NatsCluster, tmp_path: Path) -> AsyncIterator[Bus]:
    """Two planners, two learners, a gate and light hosts, each service on its own connection."""
    signing = Signing(tmp_path)
    settings = Settings(
        nats_url=cluster.url,
        subjects=Subjects(),
        state_dir=tmp_path / "hosts",
        signing_seeds=signing.keys.seeds,
        trusted_keys=signing.keys.keys,
    )
    client = await connect(cluster.url, settings.subjects, "client")
    await when_ready(client.js, 3)
    await provision(client.js, settings.subjects, replicas=3)
    for host in HOSTS:
        await provision_host(client.js, settings.subjects, host)
    bodies: list[tuple[Service, object]] = [
        ("planner", planner),
        ("planner", planner),
        ("learner", learner),
        ("learner", learner),
        ("executor", gate_role),
    ]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        for service, body in bodies:
            bus = await connect(cluster.url, settings.subjects, service)
            stack.push_async_callback(bus.close)
            telemetry = await stack.enter_async_context(
                start_telemetry(service, publish=bus.publish_bytes, subjects=settings.subjects)
            )
            await stack.enter_async_context(body(settings, bus, telemetry))  # type: ignore[operator]
            stack.push_async_callback(bus.rest)
        agents = Agents(settings, shared_bus=None)
        stack.push_async_callback(agents.stop)
        await agents.start(dict.fromkeys(HOSTS, "simulated"))
        yield client


async def until(bus: Bus, identity: str, wanted: Callable[[Optimization], object]) -> Optimization:
    """The record once it is as wanted, however long the servers need to elect another leader."""
    deadline = time.monotonic() + PATIENCE_S
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = await (await bus.records("optimizations", Optimization)).get(identity)
        except BusError as error:
            last = error
        else:
            assert found is not None
            if wanted(found.value):
                return found.value
            last = found.value.phase
        await asyncio.sleep(0.2)
    raise AssertionError(last)


async def said(bus: Bus, identity: str) -> list[tuple[str, bytes]]:
    """Everything in the audit log about one optimization."""
    subject = bus.subjects.events(optimization=identity)
    return [event async for event in bus.history("EVENTS", subject)]


async def leader(cluster: NatsCluster, bus: Bus) -> NatsServer:
    """The server that leads the stream of events."""
    info = await bus.js.stream_info(bus.subjects.stream("EVENTS"))
    assert info.cluster is not None
    (found,) = [server for server in cluster.servers if server.name == info.cluster.leader]
    return found


async def test_a_killed_server_in_a_rollout_loses_nothing(cluster: NatsCluster, fleet: Bus) -> None:
    reply = await fleet.ask(
        fleet.subjects.optimize,
        OptimizeRequest(
            workload="pulse",
            hosts=HOSTS,
            policies=["latency"],
            budget=Budget(rounds=8, seconds=600),
        ),
        OptimizeReply,
        timeout_s=60,
    )
    assert reply.problem is None
    identity = reply.optimization
    await until(fleet, identity, lambda state: state.deployments)
    before = await said(fleet, identity)
    victim = await leader(cluster, fleet)
    victim.kill()
    # Over, and everybody has been told.
    state = await until(fleet, identity, lambda state: state.over and not state.outbox)

    assert (state.terminal, sorted(state.deployments)) == ("promoted", HOSTS)
    after = await said(fleet, identity)
    assert after[: len(before)] == before
    facts = Counter(subject.split(".")[3] for subject, _ in after)
    assert (facts["accepted"], facts["ended"]) == (1, 1)
    assert facts["round"] == 8
    assert facts["deployed"] == len(HOSTS)
    for host in HOSTS:
        runs = await fleet.ask(
            fleet.subjects.endpoint("executor", "state", host),
            StateRequest(),
            SchedulerState,
            timeout_s=30,
        )
        assert (runs.policy, runs.optimization) == ("latency", identity)
    dead = [
        letter async for letter in fleet.history("DEAD", fleet.subjects.stream_subjects("DEAD"))
    ]
    assert dead == []
