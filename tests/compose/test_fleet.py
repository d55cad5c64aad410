"""The fleet in containers, from a stranger's first request to crashes of what matters."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time

import nats
import pytest

from shared.bus import Bus, connect
from shared.errors import BusUnavailableError
from shared.messages import (
    Ended,
    Inventory,
    OptimizeReply,
    Probed,
    Profiled,
    Round,
    SchedulerState,
    StateRequest,
    decode,
)
from shared.optimization import Optimization
from shared.subjects import Subjects
from shared.telemetry.store import read_trace
from tests.compose.engine import Fleet, until_ended
from tests.compose.receiver import Receiver

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]

PATIENCE_S = 1500.0
"""For one optimization of `pulse` where several guests are emulated on few CPUs."""


async def ask(
    fleet: Fleet, hosts: list[str] | None = None, control_percent: int = 0
) -> OptimizeReply:
    """A request as any NATS client would send it: JSON, and nothing of ours."""
    client = await nats.connect(fleet.url, **fleet.credentials("client").options())
    try:
        request = {
            "workload": "pulse",
            "policies": ["latency"],
            "hosts": hosts or fleet.hosts,
            "budget": {"rounds": 8, "seconds": 1200},
            "rollout": {"control_percent": control_percent},
        }
        data = json.dumps(request).encode()
        answer = await client.request("cox.req.optimize", data, timeout=30)
    finally:
        await client.close()
    reply = decode(answer.data, OptimizeReply)
    assert reply.accepted, reply.problem
    return reply


async def facts(bus: Bus, service: str, fact: str, identity: str) -> list[bytes]:
    subject = bus.subjects.events(service, fact, identity)
    return [data async for _, data in bus.history("EVENTS", subject)]


async def until_fact(bus: Bus, service: str, fact: str, identity: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await facts(bus, service, fact, identity):
        assert not await facts(bus, "planner", "ended", identity), "it ended before"
        assert time.monotonic() < deadline, f"no {fact}"
        await asyncio.sleep(0.5)


async def the_end(bus: Bus, identity: str) -> Ended:
    """Its one terminal state."""
    await until_ended(bus, identity, PATIENCE_S)
    (ended,) = await facts(bus, "planner", "ended", identity)
    return decode(ended, Ended)


@pytest.fixture(scope="session")
def optimized(fleet: Fleet) -> OptimizeReply:
    """One optimization, from request to end."""

    async def optimize() -> OptimizeReply:
        # With three hosts: a canary, a cohort of one, and one held out to compare with.
        reply = await ask(fleet, control_percent=34)
        async with fleet.bus() as bus:
            await until_ended(bus, reply.optimization, PATIENCE_S)
        return reply

    return asyncio.run(optimize())


async def test_every_host_is_there_on_a_kernel_of_its_own(fleet: Fleet) -> None:
    hosts: dict[str, Inventory] = {}
    async with fleet.bus() as bus:
        records = await bus.records("hosts", Inventory)
        deadline = time.monotonic() + PATIENCE_S
        # A host is healthy once it is connected; it says what it is as soon as it has looked.
        while sorted(hosts) != fleet.hosts:
            assert time.monotonic() < deadline, f"only {sorted(hosts)} have said what they are"
            hosts = {each.value.host: each.value for each in await records.all("*.inventory")}
            await asyncio.sleep(0.2)
    assert all(host.sched_ext and not host.obstacles for host in hosts.values())
    assert len({host.boot_id for host in hosts.values()}) == len(hosts)


async def test_a_request_is_profiled_tried_judged_and_ended(
    fleet: Fleet, optimized: OptimizeReply
) -> None:
    async with fleet.bus() as bus:
        identity = optimized.optimization
        profiles = [decode(d, Profiled) for d in await facts(bus, "observer", "profiled", identity)]
        assert profiles
        assert all(p.profile is not None and p.host in fleet.hosts for p in profiles)
        rounds = [decode(d, Round) for d in await facts(bus, "executor", "round", identity)]
        assert rounds
        ended = await the_end(bus, identity)
        assert ended.terminal in {"promoted", "kept-default"}, ended.reasons
        if ended.terminal == "promoted":
            await a_rollout_touched_every_host_as_it_should(fleet, bus, identity)


async def a_rollout_touched_every_host_as_it_should(fleet: Fleet, bus: Bus, identity: str) -> None:
    record = await (await bus.records("optimizations", Optimization)).get(identity)
    assert record is not None
    state = record.value
    assert [cohort.stage for cohort in state.cohorts] == ["done"] * len(state.cohorts)
    treated = [host for cohort in state.cohorts for host in cohort.hosts]
    assert sorted(treated + state.control) == fleet.hosts
    for host in fleet.hosts:
        subject = bus.subjects.endpoint("executor", "state", host)
        now = await bus.ask(subject, StateRequest(), SchedulerState, timeout_s=60)
        assert now.state == ("enabled" if host in treated else "disabled"), host
    if state.control:
        assert all(cohort.weighed is not None for cohort in state.cohorts[1:])
        probed = [decode(d, Probed) for d in await facts(bus, "observer", "probed", identity)]
        assert {each.host for each in probed} == set(fleet.hosts) - {state.canary}


async def test_a_trace_store_sees_all_services_in_one_tree(
    fleet: Fleet, optimized: OptimizeReply, receiver: Receiver
) -> None:
    deadline = time.monotonic() + 60
    while True:
        trace = read_trace(list(receiver.payloads), optimized.trace_id)
        services = {span.resource["service.name"] for span in trace.spans}
        if services == {"observer", "planner", "executor", "learner"} and not trace.problems():
            break
        assert time.monotonic() < deadline, (services, trace.problems())
        await asyncio.sleep(1)
    hosts = {span.resource["host.name"] for span in trace.spans if "host.name" in span.resource}
    assert hosts
    assert hosts <= set(fleet.hosts)


async def test_a_planner_that_is_killed_changes_nothing(fleet: Fleet) -> None:
    reply = await ask(fleet)
    async with fleet.bus() as bus:
        await until_fact(bus, "executor", "round", reply.optimization)
        fleet.crash("planner")
        ended = await the_end(bus, reply.optimization)
    assert ended.terminal in {"promoted", "kept-default"}, ended.reasons


async def test_a_bus_that_is_killed_loses_nothing(fleet: Fleet) -> None:
    reply = await ask(fleet)
    async with fleet.bus() as bus:
        await until_fact(bus, "observer", "profiled", reply.optimization)
    fleet.crash("bus")
    fleet.wait_healthy(300)
    async with fleet.bus() as bus:
        ended = await the_end(bus, reply.optimization)
    assert ended.terminal in {"promoted", "kept-default", "failed"}, ended.reasons


async def test_a_host_that_is_killed_comes_back_and_runs_what_the_record_says(
    fleet: Fleet,
) -> None:
    host = fleet.hosts[0]
    reply = await ask(fleet, hosts=[host])
    async with fleet.bus() as bus:
        await until_fact(bus, "executor", "round", reply.optimization)
        fleet.crash(host)
        fleet.wait_healthy(900)
        ended = await the_end(bus, reply.optimization)
        subject = bus.subjects.endpoint("executor", "state", host)
        now = await bus.ask(subject, StateRequest(), SchedulerState, timeout_s=60)
    if ended.terminal == "promoted":
        assert now.state == "enabled"
        assert now.optimization == reply.optimization
    else:
        # It still knows what was promoted before: its journal is on a disk that stays.
        earlier_promotion = now.purpose == "deployed" and now.optimization != reply.optimization
        assert now.state == "disabled" or earlier_promotion, ended


async def test_without_a_certificate_or_a_key_nobody_is_let_in(fleet: Fleet) -> None:
    stranger = fleet.credentials("client")
    for credentials in (
        type(stranger)(key=stranger.key, ca=stranger.ca),
        type(stranger)(ca=stranger.ca, cert=stranger.cert, cert_key=stranger.cert_key),
    ):
        with pytest.raises(BusUnavailableError):
            await connect(fleet.url, Subjects(), "stranger", credentials=credentials, patience_s=5)


COMPILED = """
from pathlib import Path
from services.executor.gate.clang import FRAME_FLAGS, run_clang
from services.executor.gate.workshop import Workshop
key = "/secrets/nats.nk"
print("outside", Path(key).read_text())
for source in ("int x;", f'#include "{key}"', f'__asm__(".incbin \\\\"{key}\\\\"");'):
    made = run_clang(Workshop().jail, source, "x.c", flags=FRAME_FLAGS, includes=())
    print("inside", (made.object or b"") + made.diagnostics.encode())
"""


def test_the_gates_compiler_is_in_a_jail_where_not_even_its_key_can_be_read(fleet: Fleet) -> None:
    container = fleet.inspect("gate")["Name"].removeprefix("/")
    command = ["docker", "exec", container, "python3", "-c", COMPILED]
    outside, *inside = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split("inside ")
    (seed,) = re.findall(r"\bSU[A-Z2-7]{56}\b", outside)
    compiled, *stolen = inside
    assert "ELF" in compiled
    assert len(stolen) == 2
    assert all("/secrets/nats.nk" in each for each in stolen)  # it was tried
    assert all("ELF" not in each and seed not in each for each in stolen)


def test_no_container_has_more_than_it_needs(fleet: Fleet) -> None:
    for service in fleet.services:
        container = fleet.inspect(service)
        config, host = container["Config"], container["HostConfig"]
        assert config["User"] == "10001:10001", service
        assert host["CapDrop"] == ["ALL"], service
        assert host["ReadonlyRootfs"], service
        assert not host["Privileged"], service
        assert host["Memory"], service
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        # An NKey's seed, wherever it might have slipped in.
        assert not re.search(r"\bSU[A-Z2-7]{56}\b", json.dumps(config)), service


def test_no_secret_is_in_an_image(fleet: Fleet) -> None:
    for service in fleet.services:
        image = fleet.inspect(service)["Config"]["Image"]
        look = "find / -xdev ( -path /secrets/* -o -name *.nk -o -name *nats-*.pem ) -type f"
        command = ["docker", "run", "--rm", "--network", "none", "--user", "0", image]
        done = subprocess.run(
            [*command, *look.split()], capture_output=True, text=True, check=False
        )
        assert done.stdout == "", service
