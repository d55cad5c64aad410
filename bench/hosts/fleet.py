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
from shared.process import tied
from shared.signing import KEYS, SEEDS, SigningKeys
from shared.subjects import Subjects

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
START_S = 180.0


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """CPU seconds by part since the fleet began, and what everything else on this machine used."""

    at_s: float
    by_part: dict[str, float]
    others_s: float
    stolen_s: float
    """What the hypervisor gave to other machines while this one wanted it."""


class Fleet:
    """A bus, planners, learners, a gate and hosts, each a process; ends with its context."""

    def __init__(self, home: Path, *, planners: int, learners: int) -> None:
        self.home = home
        self.server = NatsServer(home / "nats")
        self._signing = SigningKeys(home / SEEDS, home / KEYS)
        self.subjects = Subjects()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """By part and number: `planner-0`, `hosts-1`, …"""
        self._modules: dict[str, list[str]] = {}
        self._wanted = {"planner": planners, "learner": learners}
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """A client's connection."""
        assert self._bus is not None
        return self._bus

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _start(self) -> None:
        self._signing.ensure()
        await asyncio.to_thread(self.server.start)
        self._bus = await connect(self.server.url, self.subjects, "bench")
        await provision(self.bus.js, self.subjects)
        heard = await self.bus.nc.subscribe(self.subjects.heartbeats())
        for service, count in self._wanted.items():
            for number in range(count):
                self.spawn(f"{service}-{number}", [f"services.{service}"])
        self.spawn("gate-0", ["services.executor", "--role", "gate"])
        instances: set[str] = set()
        async with asyncio.timeout(START_S):
            while len(instances) <= sum(self._wanted.values()):
                instances.add((await heard.next_msg(timeout=START_S)).subject)
        await heard.unsubscribe()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self.processes:
            self.kill(name)
        if self._bus is not None:
            await self._bus.close()
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
        self,
        count: int,
        *,
        processes: int,
        kind_size: int,
        connections: str,
        ledgers: Path | None = None,
    ) -> list[Ready]:
        """Bring up light hosts, spread over processes, and wait until all serve."""
        history = ["--ledgers", str(ledgers)] if ledgers is not None else []
        share, more = divmod(count, processes)
        first = 0
        started = []
        for number in range(processes):
            mine = share + (number < more)
            if not mine:
                break
            started.append(
                self.spawn(
                    f"hosts-{number}",
                    [
                        "bench.hosts.agents",
                        *("--first", str(first), "--count", str(mine)),
                        *("--kind-size", str(kind_size), "--connections", connections),
                        *history,
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
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise MachineError(f"{name} has ended", advice=f"See {self.home / 'logs'}.")
        parts = dict.fromkeys(name.rpartition("-")[0] for name in self.processes)
        by_part = {
            part: sum(_cpu_s(pid) for pid in self._pids(part)) for part in ("nats", "bench", *parts)
        }
        machine = psutil.cpu_times()
        unused = machine.idle + machine.iowait + machine.steal
        busy = sum(machine) - unused - machine.guest - machine.guest_nice
        return Used(
            at_s=time.monotonic(),
            by_part=by_part,
            others_s=busy - sum(by_part.values()),
            stolen_s=machine.steal,
        )

    def _pids(self, part: str) -> list[int]:
        if part == "nats":
            return [self.server.pid]
        if part == "bench":
            return [os.getpid()]
        return [
            process.pid
            for name, process in self.processes.items()
            if name.rpartition("-")[0] == part
        ]

    def kill(self, name: str) -> None:
        """End a process as a crash would, stopped or not."""
        process = self.processes[name]
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def url_of(self, _name: str) -> str:
        """Where this process finds the bus."""
        return self.server.url

    def extra_environment(self, _name: str) -> dict[str, str]:
        """What a process is told besides."""
        return {}

    def spawn(self, name: str, module: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process, or start it again as it was."""
        module = self._modules[name] = module or self._modules[name]
        environment = {
            **os.environ,
            "COX_NATS_URL": self.url_of(name),
            "COX_LOG": "json",
            "COX_STATE_DIR": str(self.home / "state"),
            "COX_SIGNING_SEEDS": str(self._signing.seeds),
            "COX_TRUSTED_KEYS": str(self._signing.keys),
            "PYTHONPATH": str(ROOT),
            **self.extra_environment(name),
        }
        with self._log(name) as log:
            process = subprocess.Popen(
                tied(sys.executable, "-m", *module),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if name.startswith("hosts") else log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def _log(self, name: str) -> IO[bytes]:
        path = self._log_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _log_path(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"


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
