"""Many light hosts in one process: each with its own observer, executor, journal and telemetry.

    python -m bench.hosts.agents --first 0 --count 100 --kind-size 10 --connections own

`own` gives each host two connections, as real hosts have, one for each service; `shared` gives
all hosts of this process one. Prints one JSON line when all of them serve, and runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

import msgspec
import psutil
import structlog
from msgspec.structs import replace

from bench.hosts.ledger import Ledger
from bench.hosts.machine import Machine
from services.executor.host.service import host_role
from services.observer.service import observer
from shared.bus import Bus, connect
from shared.service import beat
from shared.settings import Settings
from shared.tasks import end
from shared.telemetry import configure_logging, start_telemetry
from shared.workloads import Catalogue

STARTING_AT_ONCE = 16


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """All hosts of a process serve. `base_bytes`: its memory before the first of them."""

    base_bytes: int
    full_bytes: int


def host_name(number: int) -> str:
    """What the host with this number is called."""
    return f"sim-{number:05d}"


def kind_name(number: int, kind_size: int) -> str:
    """The hardware of the host with this number: `kind_size` neighbours have the same."""
    return f"simulated-{number // kind_size:05d}"


class Agents:
    """Hosts of this process, and what they share."""

    def __init__(
        self, settings: Settings, *, shared_bus: Bus | None, ledgers: Path | None = None
    ) -> None:
        """With `ledgers` each host's kernel keeps its history in that folder."""
        self._settings = settings
        self._ledgers = ledgers
        self._shared_bus = shared_bus
        self._catalogue = Catalogue.load()
        self._starting = asyncio.Semaphore(STARTING_AT_ONCE)
        self._stack = contextlib.AsyncExitStack()
        self._beats: list[asyncio.Task[None]] = []

    async def start(self, hosts: dict[str, str]) -> None:
        """Bring up all of them, by name and kind."""
        await asyncio.gather(*(self._start(host, kind) for host, kind in hosts.items()))

    async def _start(self, host: str, kind: str) -> None:
        settings = replace(self._settings, host=host, state_dir=self._settings.state_dir / host)
        ledger = Ledger(self._ledgers, host) if self._ledgers is not None else None
        machine = Machine(host, kind, self._catalogue, ledger)
        async with self._starting:
            for service in ("observer", "executor"):
                bus = await self._bus(host)
                telemetry = await self._stack.enter_async_context(
                    start_telemetry(
                        service,
                        host,
                        publish=bus.publish_bytes,
                        subjects=settings.subjects,
                        instance=host,
                    )
                )
                role = (
                    observer(settings, bus, telemetry, machine)
                    if service == "observer"
                    else host_role(settings, bus, telemetry, machine, machine.here())
                )
                await self._stack.enter_async_context(role)
                # Before the service's own context ends, it takes no more work.
                self._stack.push_async_callback(bus.rest)
                self._beats.append(asyncio.create_task(beat(bus, service, host, host)))

    async def _bus(self, host: str) -> Bus:
        if self._shared_bus is not None:
            return self._shared_bus
        bus = await connect(self._settings.nats_url, self._settings.subjects, host)
        self._stack.push_async_callback(bus.close)
        return bus

    async def stop(self) -> None:
        """Take all of them down."""
        await end(self._beats)
        await self._stack.aclose()


async def run(arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    settings = Settings.from_environment()
    configure_logging("observer", json=True)
    # What a thousand hosts say about each round would be most of what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    numbers = range(arguments.first, arguments.first + arguments.count)
    hosts = {host_name(n): kind_name(n, arguments.kind_size) for n in numbers}
    shared_bus = None
    if arguments.connections == "shared":
        shared_bus = await connect(settings.nats_url, settings.subjects, "agents")
    base_bytes = psutil.Process().memory_info().rss
    agents = Agents(settings, shared_bus=shared_bus, ledgers=arguments.ledgers)
    await agents.start(hosts)
    # No host has ten thousand hosts' objects to walk through at each collection.
    gc.collect()
    gc.freeze()
    ready = Ready(base_bytes=base_bytes, full_bytes=psutil.Process().memory_info().rss)
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await stop.wait()
    # An orderly end of ten thousand hosts takes minutes and would show nothing.
    os._exit(0)


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--first", type=int, default=0, help="number of the first host")
    parser.add_argument("--count", type=int, required=True, help="how many hosts")
    parser.add_argument("--kind-size", type=int, default=10, help="hosts of one fingerprint")
    parser.add_argument("--connections", choices=("own", "shared"), default="own")
    parser.add_argument("--ledgers", type=Path, help="where kernels keep their histories (nowhere)")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
