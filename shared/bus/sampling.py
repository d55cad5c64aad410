"""How full the queues are: consumer info, asked for now and then.

Only where somebody reads it (COX_METRICS is set): it is a request for each consumer each time.
How long messages wait needs no question: whoever handles one sees when it came.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from shared.metrics import declared

if TYPE_CHECKING:
    from shared.bus.connection import Bus

SAMPLE_S = 5.0

log = structlog.get_logger(__name__)


async def sample(bus: Bus) -> None:
    """Keep the gauges of this process's consumers fresh, for ever."""
    failing = False
    while True:
        problem = await sample_once(bus)
        if problem and not failing:
            log.warning("metrics.queues_unknown", problem=problem)
        failing = bool(problem)
        await asyncio.sleep(SAMPLE_S)


async def sample_once(bus: Bus) -> str:
    """Ask once. Gives the problem if there was one: then no depth is shown, not an old one."""
    bus.metrics.set(declared.CONNECTED, 1.0 if bus.nc.is_connected else 0.0)
    try:
        for stream, consumer in bus.queues:
            info = await bus.js.consumer_info(stream, consumer)
            bus.metrics.set(declared.PENDING, info.num_pending or 0, consumer=consumer)
            bus.metrics.set(declared.UNACKNOWLEDGED, info.num_ack_pending or 0, consumer=consumer)
    except Exception as error:  # noqa: BLE001 - counting must not end the service it counts
        bus.metrics.forget(declared.PENDING)
        bus.metrics.forget(declared.UNACKNOWLEDGED)
        return repr(error)
    return ""
