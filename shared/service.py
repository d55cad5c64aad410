"""The life of a service process: settings, telemetry, the bus, heartbeats, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from shared.bus import Bus, connect
from shared.bus.sampling import sample
from shared.errors import CoxswainError, MessageError
from shared.messages import Heartbeat, RollCall, decode
from shared.metrics import Metrics, declared, serving
from shared.settings import Settings
from shared.tasks import end
from shared.telemetry import configure_logging, start_telemetry

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from shared.subjects import Service
    from shared.telemetry import Telemetry

HEARTBEAT_S = 30.0
"""Few, for every planner hears every host's. Who cannot wait for them calls the roll."""
ALIVE_S = 10.0
"""How often health checks are shown that all is well."""
CALL_S = 1.0
"""Within which a roll call is answered: a thousand hosts must not answer in one moment."""
END_S = 15.0
"""How long an orderly end may take."""

log = structlog.get_logger(__name__)

Body = Callable[[Settings, Bus, "Telemetry"], contextlib.AbstractAsyncContextManager[None]]
"""A service's work: it goes on by itself while the context is open, and ends with it."""


def main(service: Service, body: Body, *, of_host: bool) -> int:
    """Run a service until it is told to stop; its exit code. Errors are one line, not a trace."""
    try:
        asyncio.run(_live(service, body, of_host=of_host))
    except CoxswainError as error:
        sys.stderr.write(f"{service}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


async def _live(service: Service, body: Body, *, of_host: bool) -> None:
    settings = Settings.from_environment()
    host = settings.host if of_host else ""
    configure_logging(service, host=host, json=settings.log_json)
    metrics = Metrics()
    metrics.expose(*declared.PROCESS)
    with serving(settings.metrics, metrics):
        await _work(service, body, settings, host, metrics)


async def _work(
    service: Service, body: Body, settings: Settings, host: str, metrics: Metrics
) -> None:
    instance = host or f"{service}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bus = await connect(
        settings.nats_url, settings.subjects, instance, credentials=settings.credentials
    )
    try:
        async with start_telemetry(
            service,
            host,
            publish=bus.publish_bytes,
            subjects=settings.subjects,
            instance=instance,
        ) as telemetry:
            telemetry.metrics = bus.metrics = metrics
            metrics.set(declared.INFO, 1, service=service, instance=instance, host=host)
            async with body(settings, bus, telemetry):
                log.info("service.started", instance=instance, bus=settings.nats_url)
                tasks = [
                    asyncio.create_task(stop.wait()),
                    asyncio.create_task(bus.failed()),
                    asyncio.create_task(beat(bus, service, instance, host)),
                ]
                if settings.alive:
                    tasks.append(asyncio.create_task(_show_alive(bus, settings)))
                if settings.metrics:
                    tasks.append(asyncio.create_task(sample(bus)))
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                log.info("service.stopping", instance=instance)
                # With the bus gone an orderly end may hang; a scheduler goes with the process.
                loop.call_later(END_S, os._exit, 1)
                await end(tasks)
                await bus.rest()
            for task in done:
                if not task.cancelled():
                    task.result()
    finally:
        await bus.close()


async def _show_alive(bus: Bus, settings: Settings) -> None:
    """Touch the file of a container's health check while the bus is there, for ever.

    With all of it that this service stands on.
    """
    while True:
        if bus.nc.is_connected and not bus.footing.lost:
            settings.touch_alive()
        await asyncio.sleep(ALIVE_S)


async def beat(bus: Bus, service: Service, instance: str, host: str) -> None:
    """Say that a service instance is alive, regularly and when the roll is called, for ever."""
    subject = bus.subjects.heartbeat(service, instance)
    calls: asyncio.Queue[RollCall] = asyncio.Queue(1)

    def answer(call: RollCall) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            calls.put_nowait(call)

    async def hear(message: Msg) -> None:
        with contextlib.suppress(MessageError):
            call = decode(message.data, RollCall)
            answer(call)
            if call.look:
                bus.footing.suspect()

    def changed() -> None:
        answer(RollCall(within_s=0.0))

    await bus.nc.subscribe(bus.subjects.roll_call, cb=hear)
    bus.footing.on_change(changed)
    try:
        while True:
            await bus.tell(
                subject,
                Heartbeat(
                    service=service,
                    instance=instance,
                    host=host,
                    unix_ns=time.time_ns(),
                    gone=[str(thing) for thing in bus.footing.lost],
                ),
            )
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    call = await calls.get()
            except TimeoutError:
                continue
            await asyncio.sleep(random.uniform(0, call.within_s))  # noqa: S311 - no secret
    finally:
        bus.footing.on_change(changed, no_more=True)


async def call_roll(bus: Bus, *, look: bool = False) -> None:
    """Ask everybody for a sign of life within CALL_S; and to `look` if something was lost."""
    await bus.tell(bus.subjects.roll_call, RollCall(within_s=CALL_S, look=look))
