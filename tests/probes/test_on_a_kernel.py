"""Probes on a real kernel: asked for on the bus, compiled by bcc, attached, read, and gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.bus import Bus, connect
from shared.bus.provision import provision, provision_host
from shared.errors import NoResponderError, RemoteError
from shared.messages import (
    Deepened,
    DeepenRequest,
    PreparedProbe,
    PrepareProbe,
    ProbeRun,
    RunProbe,
)
from shared.microvm import HOST_FROM_GUEST, Microvm, ensure_image
from shared.probes import ProbeReading
from shared.subjects import Subjects
from tests.executor.tokens import Signing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1500),
]

HOST = "lab-1"
PATIENCE_S = 400.0
"""For anything that a busy, emulated machine does sooner or later."""


class Probed:
    """One lab host with its observer and executor as they are, and a bus to ask them on."""

    def __init__(self, bus: Bus, guest: Microvm) -> None:
        self.bus = bus
        self.guest = guest

    async def run(self, command: str, timeout_s: float = 120) -> str:
        done = await self.guest.run(command, timeout_s=timeout_s)
        assert done.exit_code == 0, done.output
        return done.output

    async def held(self) -> dict[str, set[int]]:
        """Programs, maps and links in the kernel."""
        code = (
            "import json; from services.executor.loader.census import census; c = census();"
            "print(json.dumps([sorted(c.programs), sorted(c.maps), sorted(c.links)]))"
        )
        command = f"cd /opt/coxswain/src && PYTHONPATH=.:/opt/coxswain/lib python3 -c '{code}'"
        programs, maps, links = json.loads((await self.run(command)).splitlines()[-1])
        return {"programs": set(programs), "maps": set(maps), "links": set(links)}

    async def prepare(self, probe: str) -> PreparedProbe:
        subject = self.bus.subjects.endpoint("executor", "prepare", HOST)
        request = PrepareProbe(probe=probe)  # type: ignore[arg-type]
        return await self.bus.ask(subject, request, PreparedProbe, timeout_s=PATIENCE_S)

    async def probe(self, prepared: PreparedProbe, cgroup: str, seconds: float) -> ProbeReading:
        subject = self.bus.subjects.endpoint("executor", "probe", HOST)
        request = RunProbe(session=prepared.session, cgroup=cgroup, seconds=seconds)
        return (await self.bus.ask(subject, request, ProbeRun, timeout_s=PATIENCE_S)).reading


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> AsyncIterator[Probed]:
    bus = await connect(nats_url, Subjects("probes"), "test", patience_s=10)
    await provision(bus.js, bus.subjects)
    await provision_host(bus.js, bus.subjects, HOST)
    signing = Signing(tmp_path_factory.mktemp("keys"))
    guest = Microvm(
        await ensure_image(),
        name=HOST,
        cpus=2,
        settings={
            "COX_HOST": HOST,
            "COX_NATS_URL": nats_url.replace("127.0.0.1", HOST_FROM_GUEST),
            "COX_NAMESPACE": bus.subjects.namespace,
        },
        credentials={"cox-trusted.keys": signing.keys.keys},
        boot_s=PATIENCE_S,
    )
    async with guest:
        yield Probed(bus, guest)
    await bus.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deepened(lab: Probed) -> tuple[dict[str, set[int]], Deepened]:
    """What was in the kernel before, and `pulse` seen by the run-queue probe."""
    before = await lab.held()
    subject = lab.bus.subjects.endpoint("observer", "deepen", HOST)
    request = DeepenRequest(optimization="of-a-test", workload="pulse", probe="run-queue")
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return before, await lab.bus.ask(subject, request, Deepened, timeout_s=PATIENCE_S)
            except NoResponderError:  # it starts at the same time
                await asyncio.sleep(1)
            except RemoteError as error:  # and so does the executor, whom it asks
                if error.kind != NoResponderError.__name__:
                    raise
                await asyncio.sleep(1)


async def test_a_workloads_waits_are_seen_through_the_bus(
    deepened: tuple[dict[str, set[int]], Deepened],
) -> None:
    _, told = deepened
    reading = told.reading
    assert (reading.probe, told.host, told.workload) == ("run-queue", HOST, "pulse")
    waits = reading.spreads["wait_after_wakeup"]
    assert waits.count > 20
    assert sum(waits.slots) == waits.count
    assert waits.p50_us <= waits.p99_us <= waits.most_us
    assert waits.total_us > 0
    assert "After a wake-up its tasks waited" in told.summary
    assert told.metrics


async def test_its_cost_is_told(deepened: tuple[dict[str, set[int]], Deepened]) -> None:
    cost = deepened[1].reading.cost
    assert cost.compile_s > 0
    assert cost.cpu_s > 0
    assert cost.runs > 0
    assert 0 < cost.kernel_share < 1


async def test_nothing_is_left_in_the_kernel(
    lab: Probed, deepened: tuple[dict[str, set[int]], Deepened]
) -> None:
    before, _ = deepened
    now = await lab.held()
    # Others load BPF, too (systemd); whatever came is of no process of ours.
    assert not await lab.run("pgrep -f probing/chil[d] || :")
    assert now["links"] <= before["links"]
    assert len(now["programs"]) <= len(before["programs"])
    assert len(now["maps"]) <= len(before["maps"])


async def test_who_wakes_whom_is_seen_and_hostile_names_are_told_plainly(lab: Probed) -> None:
    """Two processes that wake each other by a pipe; one has a name with an escape sequence."""
    script = (
        "import ctypes, os, sys\n"
        "a, b = os.pipe(), os.pipe()\n"
        "child = os.fork() == 0\n"
        "name = b'\\x1b[2Jping' if child else b'pong'\n"
        "ctypes.CDLL(None).prctl(15, name, 0, 0, 0)\n"
        "r, w = (a[0], b[1]) if child else (b[0], a[1])\n"
        "os.write(w, b'x') if not child else None\n"
        "while os.read(r, 1): os.write(w, b'x')\n"
    )
    await lab.guest.put("/root/pingpong.py", script.encode())
    prepared = await lab.prepare("wakes")
    await lab.run("systemd-run --unit pingpong python3 /root/pingpong.py")
    try:
        reading = await lab.probe(prepared, "/system.slice/pingpong.service", 3.0)
    finally:
        await lab.run("systemctl stop pingpong")
    edges = {(each.waker, each.woken): each for each in reading.wakes}
    assert edges["pong", "\\x1b[2Jping"].count > 10
    assert edges["\\x1b[2Jping", "pong"].count > 10
    # Of a group that nobody is in any more nothing is counted: this one's scope was its own.
    assert not any("cox-" in name for edge in edges for name in edge)


async def test_one_at_a_time_and_gone_with_its_executor(lab: Probed) -> None:
    prepared = await lab.prepare("futex")
    with pytest.raises(RemoteError, match="no probe may run"):
        await lab.prepare("io")
    with pytest.raises(RemoteError, match="no such control group"):
        await lab.probe(prepared, "/system.slice/nobody.service", 1.0)
    # A prepared one is used up whatever came of it.
    with pytest.raises(RemoteError, match="no such probe waits"):
        await lab.probe(prepared, "/", 1.0)
    await lab.prepare("futex")
    assert await lab.run("pgrep -f probing/chil[d]")
    await lab.run("systemctl kill --kill-whom=main --signal=KILL cox-executor")
    await lab.run(
        "for i in $(seq 100); do pgrep -f probing/chil[d] || exit 0; sleep 0.1; done; exit 1"
    )
