"""The processes of a simulated fleet: a real NATS server, real services, light hosts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
import psutil

from bench.hosts.agents import Ready, host_name
from shared.bus import Bus, connect
from shared.bus.provision import provision, provision_host
from shared.bus.server import NatsServer
from shared.errors import MachineError
from shared.process import die_with_parent
from shared.subjects import Subjects

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
START_S = 60.0


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds by part since the fleet began, and what everything else on this machine used."""

    at_s: float
    by_part: dict[str, float]
    others_s: float


class Fleet:
    """A bus, planners, learners, a gate and hosts, each a process; ends with its context."""

    def __init__(self, home: Path, *, planners: int, learners: int) -> None:
        self.home = home
        self.server = NatsServer(home / "nats")
        self.subjects = Subjects()
        self._parts: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._wanted = {"planner": planners, "learner": learners}
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """A client's connection."""
        assert self._bus is not None
        return self._bus

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.server.start)
        self._bus = await connect(self.server.url, self.subjects, "bench")
        await provision(self.bus.js, self.subjects)
        heard = await self.bus.nc.subscribe(self.subjects.heartbeats())
        for service, count in self._wanted.items():
            for number in range(count):
                self._spawn(service, number, [f"services.{service}"])
        self._spawn("gate", 0, ["services.executor", "--role", "gate"])
        instances: set[str] = set()
        async with asyncio.timeout(START_S):
            while len(instances) <= sum(self._wanted.values()):
                instances.add((await heard.next_msg(timeout=START_S)).subject)
        await heard.unsubscribe()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (p for part in self._parts.values() for p in part):
            process.kill()
            process.wait()
        await self.bus.close()
        await asyncio.to_thread(self.server.stop)

    async def provision_hosts(self, numbers: Iterable[int]) -> float:
        """Make their consumers, some at once; how long it took."""
        began = time.monotonic()
        slots = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            async with slots:
                await provision_host(self.bus.js, self.subjects, host_name(number))

        await asyncio.gather(*(one(number) for number in numbers))
        return time.monotonic() - began

    async def start_hosts(
        self, count: int, *, processes: int, kind_size: int, connections: str
    ) -> list[Ready]:
        """Bring up light hosts, spread over processes, and wait until all serve."""
        share, more = divmod(count, processes)
        first = 0
        started = []
        for number in range(processes):
            mine = share + (number < more)
            if not mine:
                break
            started.append(
                self._spawn(
                    "hosts",
                    number,
                    [
                        "bench.hosts.agents",
                        *("--first", str(first), "--count", str(mine)),
                        *("--kind-size", str(kind_size), "--connections", connections),
                    ],
                )
            )
            first += mine
        return list(await asyncio.gather(*(asyncio.to_thread(_ready, p) for p in started)))

    def memory_bytes(self, part: str) -> int:
        """Resident memory of a part's processes together."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self._pids(part))

    def used(self) -> Used:
        """CPU time until now. Raises MachineError if a part of the fleet has ended."""
        for part, processes in self._parts.items():
            if any(process.poll() is not None for process in processes):
                raise MachineError(f"a {part} has ended", advice=f"See {self.home / 'logs'}.")
        by_part = {
            part: sum(_cpu_s(pid) for pid in self._pids(part))
            for part in ("nats", "bench", *self._parts)
        }
        machine = psutil.cpu_times()
        busy = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
        return Used(at_s=time.monotonic(), by_part=by_part, others_s=busy - sum(by_part.values()))

    def _pids(self, part: str) -> list[int]:
        if part == "nats":
            return [self.server.pid]
        if part == "bench":
            return [os.getpid()]
        return [process.pid for process in self._parts[part]]

    def _spawn(self, part: str, number: int, module: list[str]) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "COX_NATS_URL": self.server.url,
            "COX_LOG": "json",
            "COX_STATE_DIR": str(self.home / "state"),
            "PYTHONPATH": str(ROOT),
        }
        with self._log(f"{part}-{number}") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if part == "hosts" else log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl, no locks
            )
        self._parts.setdefault(part, []).append(process)
        return process

    def _log(self, name: str) -> IO[bytes]:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        return (self.home / "logs" / f"{name}.log").open("ab")


def _ready(process: subprocess.Popen[bytes]) -> Ready:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise MachineError(
            "a process of hosts ended before its hosts served", advice="Its log says why."
        )
    return msgspec.json.decode(line, type=Ready)


def _cpu_s(pid: int) -> float:
    """A process's own CPU time and that of the children it has waited for (the gate's clang)."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
