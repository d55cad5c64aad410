"""The bus as a process of its own: the server, what services bind to, and the keys it follows."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog

from shared.bus.away import AWAY
from shared.bus.connection import Bus, connect
from shared.bus.provision import provision, provision_host
from shared.bus.server import NatsServer
from shared.bus.server_config import Tls
from shared.bus.upkeep import Upkeep
from shared.errors import InputError, MachineError
from shared.telemetry import configure_logging

if TYPE_CHECKING:
    from shared.bus.credentials import Credentials
    from shared.bus.keyring import Keyring
    from shared.settings import Settings

PORT = 4222
LOOK_S = 1.0

log = structlog.get_logger(__name__)


async def serve(settings: Settings, keyring: Keyring) -> None:
    """Run until told to stop. Raises MachineError when the server ends by itself.

    The credentials are the operator's, with a server's certificate. Raises InputError without.
    """
    configure_logging("bus", json=settings.log_json)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = NatsServer(
        settings.state_dir,
        PORT,
        keyring=keyring,
        subjects=settings.subjects,
        address="0.0.0.0",  # noqa: S104 - whoever gets through TLS without a key gets nothing
        tls=_tls(settings.credentials),
    )
    # In this thread on purpose: the kernel ends children with the thread that made them.
    server.start()
    try:
        bus = await connect(
            server.url, settings.subjects, "bus", credentials=settings.credentials, patience_s=20
        )
        try:
            await provision(bus.js, bus.subjects)
            log.info("bus.started", members=len(keyring.members()))
            await _follow(server, bus, keyring, settings, stop)
        finally:
            await bus.close()
    finally:
        server.stop()


async def _follow(
    server: NatsServer, bus: Bus, keyring: Keyring, settings: Settings, stop: asyncio.Event
) -> None:
    """Let in who has got a key, throw out who has lost it, as long as the server lives.

    What somebody deletes is made again.
    """
    known: set[str] = set()
    upkeep = Upkeep(bus)
    while not stop.is_set():
        if not server.alive:
            raise MachineError(
                "the NATS server has ended by itself",
                expected="it to run until it is told to stop",
                advice=f"See {server.log}.",
            )
        if server.follow_keys():
            log.info("bus.keys_changed", members=len(keyring.members()))
        hosts = {member.host for member in keyring.members() if member.host is not None}
        with contextlib.suppress(*AWAY):
            for host in hosts - known:
                await provision_host(bus.js, bus.subjects, host)
                known.add(host)
            for host in known - hosts:
                await _forget(bus, host)
                known.discard(host)
            await upkeep.tend(known)
            if bus.nc.is_connected:
                settings.touch_alive()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await stop.wait()


async def _forget(bus: Bus, host: str) -> None:
    """Take a host that is out from among those that may be chosen."""
    bucket = await bus.js.key_value(bus.subjects.bucket("hosts"))
    for record in ("inventory", "scheduler"):
        await bucket.delete(f"{host}.{record}")


def _tls(credentials: Credentials) -> Tls:
    if credentials.ca is None or credentials.cert is None or credentials.cert_key is None:
        raise InputError(
            "the bus has no certificate",
            expected="nats-ca.pem, nats-cert.pem and nats-cert.key in CREDENTIALS_DIRECTORY",
            advice="Make them first: python -m shared.bus provision.",
        )
    return Tls(cert=credentials.cert, key=credentials.cert_key, ca=credentials.ca)
