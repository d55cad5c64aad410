"""`cox up --detach` and `cox down`, with real services; no lab hosts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from cli.fleet.state import FleetState, Member
from cli.fleet.supervisor import choose_port
from shared.bus import Bus, connect
from shared.bus.credentials import Credentials
from shared.bus.provision import central_streams
from shared.bus.server import free_port
from shared.errors import InputError
from shared.microvm.process import ProcessId
from shared.subjects import Subjects
from tests.cli.conftest import Cox
from tests.metrics.conftest import scraped

NAMES = ["nats", "planner", "learner", "gate"]


@pytest.fixture
def home(environment: dict[str, str]) -> Path:
    # As on a machine of one's own: commands find the bus that `cox up` has started.
    del environment["COX_NATS_URL"]
    return Path(environment["COX_HOME"])


@pytest.fixture
def started(cox: Cox, home: Path) -> Iterator[FleetState]:
    try:
        for _ in range(3):  # a free port may be taken by the time it is used
            ran = cox("up", "--detach", "--port", str(free_port()), "--json")
            if ran.code == 0:
                break
        assert ran.code == 0, ran.err
        assert ran.document["ready"] is True
        yield read(home)
    finally:
        cox("down")


def read(home: Path) -> FleetState:
    return msgspec.json.decode((home / "fleet.json").read_bytes(), type=FleetState)


def member_of(home: Path, name: str) -> Member:
    return next(member for member in read(home).members if member.name == name)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return ProcessId.of(pid).alive
    return False


def test_a_whole_life(cox: Cox, home: Path, started: FleetState) -> None:
    """Up, found by others, crashed members started again, down, and down once more."""
    assert [member.name for member in started.members] == NAMES

    # Other commands find the bus without being told where it is.
    page = cox("status", "--json").document
    assert (page["type"], page["hosts"], page["optimizations"]) == ("status", [], [])
    refused = cox("optimize", "no-such-workload")
    assert refused.code == 2
    assert "no such workload" in refused.err

    # A second one is refused, and does no harm to the first.
    second = cox("up", "--detach")
    assert second.code == 1
    assert "runs already" in second.err
    assert read(home).supervisor == started.supervisor

    # Whatever crashes is started again, NATS included, and all is ready again.
    for name in ("planner", "nats"):
        victim = member_of(home, name)
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda name=name, before=victim: member_of(home, name).restarts > before.restarts)
        until(lambda: read(home).ready)
        assert member_of(home, name).pid != victim.pid
    assert cox("status").code == 0

    pids = [member.pid for member in read(home).members]
    down = cox("down", "--json")
    assert (down.code, down.document["stopped"]) == (0, True)
    assert not any(alive(pid) for pid in pids)
    assert not (home / "fleet.json").exists()
    nothing = cox("down")
    assert (nothing.code, nothing.out) == (0, "nothing ran\n")


async def test_what_somebody_deletes_is_made_again_and_no_service_ends_of_it(
    cox: Cox, home: Path, started: FleetState
) -> None:
    """With the keys of a fleet: each may look for what it needs, and nobody else makes anything."""
    key = Credentials(key=home / "keys" / "operator.nk")
    bus = await connect(started.url, Subjects(started.namespace), "test", credentials=key)
    try:
        for stream in ("EVENTS", "COMMANDS"):
            await bus.js.delete_stream(bus.subjects.stream(stream))  # type: ignore[arg-type]
        await bus.js.delete_key_value(bus.subjects.bucket("fleet"))
        logs = {name: Path(member_of(home, name).log) for name in NAMES[1:]}
        until(lambda: all(noticed(log) for log in logs.values()))
        async with asyncio.timeout(60):
            while set(central_streams(bus.subjects)) - set(await names_of(bus)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await bus.close()
    until(lambda: read(home).ready)
    assert [member.restarts for member in read(home).members] == [0, 0, 0, 0]
    assert "permissions violation" not in "".join(log.read_text() for log in logs.values()).lower()
    assert cox("status").code == 0


def noticed(log: Path) -> bool:
    text = log.read_text()
    return '"bus.gone"' in text or '"bus.made_anew"' in text


async def names_of(bus: Bus) -> list[str]:
    return [info.config.name or "" for info in await bus.js.streams_info()]


@pytest.fixture
def endpoints(environment: dict[str, str]) -> dict[str, str]:
    """COX_METRICS is set for `cox up`: where its services should serve what they count."""
    base = next(
        port
        for port in range(20_000 + os.getpid() % 10_000, 60_000, 3)
        if all(is_free(port + offset) for offset in range(3))
    )
    environment["COX_METRICS"] = f"127.0.0.1:{base}"
    return {
        name: f"http://127.0.0.1:{base + offset}/metrics" for offset, name in enumerate(NAMES[1:])
    }


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_every_service_of_cox_up_has_a_metrics_endpoint_of_its_own(
    endpoints: dict[str, str], started: FleetState
) -> None:
    consumers = {"planner": "planner-events", "learner": "learner-rounds", "gate": "executor-gate"}
    for name, url in endpoints.items():
        empty = ("coxswain_consumer_pending_messages", {"consumer": consumers[name]}, 0.0)
        seen = await scraped(url, until=empty)
        (info,) = seen.families["coxswain_service_info"].samples
        assert info.labels["service"] == ("executor" if name == "gate" else name)
        assert seen.value("coxswain_bus_connected") == 1


def test_a_crashed_supervisor_takes_all_with_it_and_leaves_no_lie(
    cox: Cox, home: Path, started: FleetState
) -> None:
    os.kill(started.supervisor.pid, signal.SIGKILL)
    until(lambda: not any(alive(member.pid) for member in started.members))
    assert (home / "fleet.json").exists()
    assert cox("down").out == "nothing ran\n"


def test_a_stale_file_with_somebody_elses_pid_is_recognised(cox: Cox, home: Path) -> None:
    mine = ProcessId.of(os.getpid())
    stale = FleetState(
        supervisor=msgspec.structs.replace(mine, start_ticks=mine.start_ticks - 1),
        url="nats://127.0.0.1:1",
        namespace="cox",
        started_unix_ns=0,
        ready=True,
        members=[],
    )
    home.mkdir(parents=True)
    (home / "fleet.json").write_bytes(msgspec.json.encode(stale))
    assert cox("down").out == "nothing ran\n"
    assert not (home / "fleet.json").exists()


def test_a_taken_port_is_refused_when_asked_for_and_avoided_when_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError):
            choose_port(port)
    assert choose_port(None) > 0
