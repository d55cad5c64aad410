"""A fleet of real processes that can be killed, stopped, cut off, starved, shown a wrong time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
from pathlib import Path

from nats.js.api import ConsumerConfig

from bench.hosts.agents import host_name
from bench.hosts.fleet import Fleet
from shared.bus.server import free_port
from shared.microvm.way import Way
from tests.chaos.clocks import Clocks
from tests.chaos.history import Clock
from tests.chaos.story import HOSTS, PARTS

NATS = "nats"
PROCESSES = 2
"""Of hosts."""


class Siege(Fleet):
    """Two planners, a learner, a gate, and two processes of hosts, each on its own way to the bus.

    A part is called as in `tests.chaos.story.PARTS`, or NATS.
    """

    def __init__(self, home: Path, *, most_canaries: int) -> None:
        super().__init__(home, planners=2, learners=1)
        self.ledgers = home / "kernels"
        self.hosts = [host_name(number) for number in range(HOSTS)]
        self._most_canaries = most_canaries
        self._ports = {part: free_port() for part in PARTS}
        self._ways: dict[str, Way] = {}
        self._down: set[str] = set()
        self._halted: set[str] = set()
        self._limits: dict[str, tuple[int, int]] = {}
        self._clocks = Clocks(home / "clocks")
        self._shifted: set[str] = set()
        self._said: dict[str, int] = {}
        """How long a log was when its part was started again."""
        self.fallen: list[str] = []
        """Processes that were found to have ended by themselves."""

    def url_of(self, name: str) -> str:
        """The process's own way to the bus."""
        return f"nats://127.0.0.1:{self._ports[name]}"

    def extra_environment(self, name: str) -> dict[str, str]:
        """So many canaries; a clock; and what a killed process leaves goes with the run."""
        rubbish = self.home / "tmp"
        rubbish.mkdir(parents=True, exist_ok=True)
        return {
            "COX_MAX_CANARIES": str(self._most_canaries),
            "TMPDIR": str(rubbish),
            **self._clocks.environment(name),
        }

    def clock_of(self, host: str) -> list[Clock]:
        """What time a host's process was shown."""
        number = self.hosts.index(host) * PROCESSES // HOSTS
        return self._clocks.shown(f"hosts-{number}")

    async def open_ways(self) -> None:
        """Before the fleet starts, and after cuts."""
        for part in PARTS:
            await self.mend(part)

    async def close_ways(self) -> None:
        """After the fleet has ended."""
        for part in PARTS:
            await self.cut(part)
        # What they passed on is closed in the next turns of the loop.
        await asyncio.sleep(0.05)

    async def start_all_hosts(self, ack_wait_s: float) -> None:
        """Hosts, whose commands are given to somebody else after `ack_wait_s`, like all others."""
        await self.provision_hosts(range(HOSTS))
        await self.hurry(ack_wait_s)
        await self.start_hosts(
            HOSTS,
            processes=PROCESSES,
            kind_size=HOSTS,
            connections="own",
            ledgers=self.ledgers,
        )

    async def hurry(self, ack_wait_s: float) -> None:
        """A story is short: what a dead process has taken must come again before its end."""
        js = self.bus.js
        for stream in [info.config.name for info in await js.streams_info()]:
            for found in await js.consumers_info(stream or ""):
                config: ConsumerConfig = found.config
                if config.durable_name:
                    await js.add_consumer(stream or "", config.evolve(ack_wait=ack_wait_s))

    # Faults -------------------------------------------------------------------------------

    async def die(self, part: str) -> None:
        """SIGKILL."""
        if part in self._down:
            return
        self._down.add(part)
        self._halted.discard(part)
        self._limits.pop(part, None)
        await asyncio.to_thread(self.server.kill if part == NATS else lambda: self.kill(part))

    async def rise(self, part: str) -> None:
        """Start it again, if it is down."""
        if part not in self._down:
            return
        if part == NATS:
            await asyncio.to_thread(self.server.start)
        else:
            self._said[part] = self._log_path(part).stat().st_size
            self.spawn(part)
        self._down.discard(part)

    def halt(self, part: str) -> None:
        """SIGSTOP."""
        if part not in self._down:
            os.kill(self._pid(part), signal.SIGSTOP)
            self._halted.add(part)

    def go_on(self, part: str) -> None:
        """SIGCONT."""
        if part in self._halted:
            os.kill(self._pid(part), signal.SIGCONT)
            self._halted.discard(part)

    async def cut(self, part: str) -> None:
        """End its connections, and take no others."""
        way = self._ways.pop(part, None)
        if way is not None:
            await way.__aexit__(None, None, None)

    async def mend(self, part: str) -> None:
        """Let it connect again."""
        if part not in self._ways:
            self._ways[part] = await Way(
                "127.0.0.1", self._ports[part], self.server.port
            ).__aenter__()

    def starve(self, part: str) -> None:
        """Take away the right to open any file more, from one that serves: none could start."""
        if part in self._down or part in self._limits or not self._serves(part):
            return
        pid = self._pid(part)
        self._limits[part] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        highest = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, self._limits[part][1]))

    def feed(self, part: str) -> None:
        """Give it back."""
        limits = self._limits.pop(part, None)
        if limits is not None:
            resource.prlimit(self._pid(part), resource.RLIMIT_NOFILE, limits)

    def shift(self, part: str, by_s: float) -> None:
        """Set its wall clock, whether it runs or not."""
        if part not in self._shifted:
            self._shifted.add(part)
            self._clocks.set(part, by_s)

    def set_right(self, part: str) -> None:
        """Its clock is right again."""
        if part in self._shifted:
            self._shifted.discard(part)
            self._clocks.set(part, 0)

    async def heal(self) -> None:
        """All faults are over."""
        for part in list(self._shifted):
            self.set_right(part)
        for part in list(self._halted):
            self.go_on(part)
        for part in list(self._limits):
            with contextlib.suppress(ProcessLookupError):
                self.feed(part)
        await self.rise(NATS)
        await self.open_ways()
        self.look()
        for part in PARTS:
            await self.rise(part)

    def look(self) -> None:
        """Note who has ended unasked; the next `heal` starts him again, as a supervisor would."""
        for name, process in self.processes.items():
            if name not in self._down and process.poll() is not None:
                self.fallen.append(f"{name} (code {process.returncode})")
                self._down.add(name)

    def has_told(self, part: str) -> bool:
        """Whether its log says that something was lost from the bus."""
        log = self._log_path(part).read_bytes()
        return b'"bus.gone"' in log or b'"bus.made_anew"' in log

    def _serves(self, part: str) -> bool:
        if part not in self._said:
            return True  # the fleet has waited for it
        stdout = self.processes[part].stdout
        if stdout is not None:
            return bool(select.select([stdout], [], [], 0)[0])  # a line, once all hosts serve
        said = self._log_path(part).read_bytes()[self._said[part] :]
        return b"service.started" in said

    def _pid(self, part: str) -> int:
        return self.server.pid if part == NATS else self.processes[part].pid
