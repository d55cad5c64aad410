"""A lab host as one process, for a container: its guest, and the guest's way to the bus.

    python -m shared.microvm.host

COX_HOST, COX_NATS_URL and COX_NAMESPACE are the host's; its secrets are the files `cox-*` in
CREDENTIALS_DIRECTORY, which become the guest's credentials. All is well as long as the guest runs
and both of its services are connected to the bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from shared.errors import CoxswainError, InputError, MachineError
from shared.microvm.image import Image, cached_image
from shared.microvm.machine import HOST_FROM_GUEST, Microvm
from shared.microvm.places import cache_dir
from shared.microvm.way import Way
from shared.settings import Settings
from shared.telemetry import configure_logging

BOOT_S = 600.0
"""Several emulated guests that boot at the same time starve each other."""
SERVICES = 2
LOOK_S = 2.0

log = structlog.get_logger(__name__)


async def live(settings: Settings) -> None:
    """Boot the guest and keep it until told to stop. Raises MachineError if it ends by itself."""
    configure_logging("host", host=settings.host, json=settings.log_json)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bus = urlsplit(settings.nats_url)
    if bus.hostname is None or bus.port is None:
        raise InputError(
            "no such bus", expected="COX_NATS_URL=tls://HOST:PORT", got=settings.nats_url
        )
    guest = Microvm(
        _image(),
        name=settings.host,
        settings={
            "COX_HOST": settings.host,
            "COX_NATS_URL": f"{bus.scheme}://{HOST_FROM_GUEST}:{bus.port}",
            "COX_NAMESPACE": settings.subjects.namespace,
        },
        credentials=_credentials(),
        directory=settings.state_dir / "guest",
        # A guest that reboots, or whose container is started again, is the same host.
        state=settings.state_dir / "state.ext4",
        boot_s=BOOT_S,
    )
    async with Way(bus.hostname, bus.port) as way:
        log.info("guest.booting", cpus=guest.cpus, memory_mb=guest.memory_mb)
        life = asyncio.create_task(_keep(guest, way, settings))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({life, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (life, stopping):
            task.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await life


async def _keep(guest: Microvm, way: Way, settings: Settings) -> None:
    async with guest:
        log.info("guest.ready", image=guest.image.manifest.key)
        joined = False
        while guest.alive:
            if way.open >= SERVICES:
                settings.touch_alive()
            if joined != (way.open >= SERVICES):
                joined = not joined
                log.info("guest.joined" if joined else "guest.left", connections=way.open)
            await asyncio.sleep(LOOK_S)
        raise MachineError(
            f"guest {guest.name} has ended by itself",
            expected="it to run until it is told to stop",
            got=f"its console ends with: {guest.console_tail()}",
        )


def _image() -> Image:
    image = cached_image()
    if image is None:
        raise MachineError(
            "the lab's image is not here",
            expected=f"the one of this version's recipe in {cache_dir()}",
            advice="Build the container images again: make images.",
        )
    return image


def _credentials() -> dict[str, Path]:
    given = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/secrets"))
    found = {file.name: file for file in sorted(given.glob("cox-*"))}
    if not found:
        raise InputError(
            "this host has no secrets",
            expected=f"files cox-* in {given}",
            advice="Make them first: python -m shared.bus provision HOST.",
        )
    return found


def main() -> int:
    """Errors are one line, not a trace."""
    try:
        asyncio.run(live(Settings.from_environment()))
    except CoxswainError as error:
        sys.stderr.write(f"host: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
