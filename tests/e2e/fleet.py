"""A real fleet for tests: `cox up` with lab hosts, in a state home of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from cli.fleet.state import FleetState
from shared.bus import Bus, connect
from shared.bus.credentials import Credentials
from shared.errors import BusError
from shared.messages import (
    Budget,
    Message,
    OptimizeReply,
    OptimizeRequest,
    SchedulerState,
    StateRequest,
    decode,
)
from shared.microvm.guest import Guest
from shared.optimization import Optimization
from shared.subjects import Subjects

COX = Path(sys.executable).with_name("cox")
PATIENCE_S = 420.0
"""For one optimization of `pulse` on a busy, emulated machine."""

HOST = "lab-1"
"""The first lab host: where most of it happens."""


class Fleet:
    """What `cox up --detach --hosts N` has started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "COX_HOME": str(home), "COX_LOG": "json"}
        self.environment.pop("COX_NATS_URL", None)

    def cox(self, *arguments: str, timeout_s: float = 900.0) -> subprocess.CompletedProcess[str]:
        """One command, as a person would type it."""
        return subprocess.run(
            [str(COX), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def up(self, hosts: int) -> Iterator[Fleet]:
        """With all services and so many lab hosts, as long as this lasts."""
        started = self.cox("up", "--detach", "--hosts", str(hosts), timeout_s=1500)
        try:
            assert started.returncode == 0, started.stderr
            yield self
        finally:
            self.cox("down", timeout_s=120)

    @property
    def state(self) -> FleetState:
        """What the supervisor says now."""
        return msgspec.json.decode((self.home / "fleet.json").read_bytes(), type=FleetState)

    def key(self, member: str) -> Path:
        """The seed of a member of its bus."""
        return self.home / "keys" / f"{member}.nk"

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[Bus]:
        """A connection of a client's own."""
        key = Credentials(key=self.key("operator"))
        bus = await connect(self.state.url, Subjects(), "test", credentials=key, patience_s=30)
        try:
            yield bus
        finally:
            await bus.close()

    def kill(self, name: str) -> None:
        """SIGKILL one of the supervised processes; the supervisor starts it again."""
        member = next(member for member in self.state.members if member.name == name)
        if member.pid:
            os.kill(member.pid, signal.SIGKILL)

    @asynccontextmanager
    async def guest(self, host: str) -> AsyncIterator[Guest]:
        """A root's hands inside a lab host."""
        guest = Guest.attach(self.home / "lab" / host)
        try:
            yield guest
        finally:
            await guest.close()

    async def kill_on(self, host: str, service: str) -> None:
        """SIGKILL a host's service, not its guard; systemd starts it again."""
        async with self.guest(host) as guest:
            # The bracket keeps the command from finding itself.
            role = " --role host" if service == "executor" else ""
            pattern = f"[p]ython3 -m services.{service}{role}"
            done = await guest.run(["pkill", "--signal", "KILL", "-f", pattern], timeout_s=120)
            assert done.exit_code == 0, done.output

    async def ready(self) -> None:
        """Until the supervisor has everybody again, and no optimization of another test is left."""
        await until(lambda: self.state.ready, 180.0)
        async with self.bus() as bus:
            for found in await (await bus.records("optimizations", Optimization)).all():
                if not found.value.over:
                    self.cox("cancel", found.key)
                    await wait_for_phase(bus, found.key, "ended")


async def until(condition: Callable[[], bool | Awaitable[bool]], patience_s: float) -> None:
    """Look until a condition holds; fail when patience is over."""
    deadline = time.monotonic() + patience_s
    while True:
        result = condition()
        if not isinstance(result, bool):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.2)


async def ask(bus: Bus, request: OptimizeRequest) -> OptimizeReply:
    return await bus.ask(bus.subjects.optimize, request, OptimizeReply, timeout_s=30)


async def pulse_comes_to(bus: Bus, phase: str) -> str:
    """A small optimization on the first host is asked for, and has come as far; its id."""
    request = OptimizeRequest(
        workload="pulse",
        hosts=[HOST],
        policies=["latency"],
        budget=Budget(rounds=8, seconds=600),
    )
    reply = await ask(bus, request)
    assert reply.accepted, reply.problem
    await wait_for_phase(bus, reply.optimization, phase)
    return reply.optimization


async def record(bus: Bus, identity: str) -> Optimization:
    found = await (await bus.records("optimizations", Optimization)).get(identity)
    assert found is not None
    return found.value


async def wait_for_phase(bus: Bus, identity: str, *phases: str) -> Optimization:
    """Until an optimization is in one of these phases, or over."""
    wanted = {*phases, "ended"}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            state = await record(bus, identity)
        except BusError:  # the server is being restarted
            assert time.monotonic() < deadline, "the bus is gone for good"
        else:
            if state.phase in wanted:
                return state
            assert time.monotonic() < deadline, f"still {state.phase}"
        await asyncio.sleep(0.1)


async def facts(
    bus: Bus, service: str, fact: str, identity: str, kind: type[Message]
) -> list[Message]:
    """Every event of a kind in an optimization's life."""
    subject = bus.subjects.events(service, fact, identity)
    return [decode(data, kind) async for _, data in bus.history("EVENTS", subject)]


async def scheduler(bus: Bus, host: str) -> SchedulerState:
    """What the host's kernel says now, through its executor; waits for one that restarts."""
    subject = bus.subjects.endpoint("executor", "state", host)
    deadline = time.monotonic() + 120
    while True:
        try:
            return await bus.ask(subject, StateRequest(), SchedulerState, timeout_s=15)
        except BusError:
            assert time.monotonic() < deadline, "the executor is gone for good"
            await asyncio.sleep(0.5)
