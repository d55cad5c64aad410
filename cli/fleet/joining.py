"""How a host joins the bus, and how it is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from shared.bus.provision import provision_host
from shared.errors import MachineError
from shared.messages import Inventory, SchedulerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.fleet.roster import Roster
    from shared.bus import Bus

JOIN_S = 180.0
"""How long a guest may take from its boot until both its services have been heard."""
LOOK_S = 0.5
SERVICES = ("observer", "executor")


async def missing_of(bus: Bus, roster: Roster, host: str) -> list[str]:
    """What a host has not shown yet; empty once it has joined."""
    missing = [f"its {service}" for service in SERVICES if not roster.alive(service, host)]
    with contextlib.suppress(NatsError, APIError, TimeoutError):
        inventories = await bus.records("hosts", Inventory)
        if await inventories.get(f"{host}.inventory") is None:
            missing.append("its inventory")
        schedulers = await bus.records("hosts", SchedulerState)
        if await schedulers.get(f"{host}.scheduler") is None:
            missing.append("its scheduler's state")
        return missing
    return [*missing, "the bus"]


async def expect_host(bus: Bus, host: str) -> None:
    """Make a host's place on the bus before it comes; what an earlier one of its name left goes."""
    await forget_host(bus, host)
    await provision_host(bus.js, bus.subjects, host)


async def wait_joined(bus: Bus, roster: Roster, host: str, tell: Callable[[str], None]) -> None:
    """Wait until a host has joined, telling what is missing. Raises MachineError."""
    missing = ["everything"]
    try:
        async with asyncio.timeout(JOIN_S):
            while missing := await missing_of(bus, roster, host):
                tell(", ".join(missing))
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise MachineError(
            f"host {host} did not join",
            expected=f"inventory, scheduler state and both heartbeats within {JOIN_S:.0f} s",
            got=f"no sign of {', '.join(missing)}",
            advice=f"Look inside with `cox lab shell {host}`: journalctl -u 'cox-*'.",
        ) from None


async def forget_host(bus: Bus, host: str) -> None:
    """Take a host that is gone out of the `hosts` bucket: nobody may choose it any more."""
    with contextlib.suppress(NatsError, APIError, TimeoutError):
        bucket = await bus.js.key_value(bus.subjects.bucket("hosts"))
        for record in ("inventory", "scheduler"):
            await bucket.delete(f"{host}.{record}")
