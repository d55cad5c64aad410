"""What the planner knows of hosts, from a real bus."""

from __future__ import annotations

import asyncio
import time

from services.planner.hosts import Hosts
from shared.bus import Bus
from shared.messages import Inventory, SchedulerState
from shared.tasks import end
from tests.eventually import eventually
from tests.planner.world import inventory

MINUTE_NS = 60_000_000_000


def state(host: str, **more: object) -> SchedulerState:
    return SchedulerState(host=host, boot_id="b", state="disabled", **more)  # type: ignore[arg-type]


async def test_who_would_load_nothing_is_known_with_the_reason_until_it_is_over(bus: Bus) -> None:
    inventories = await bus.records("hosts", Inventory)
    schedulers = await bus.records("hosts", SchedulerState)
    open_breaker = {"breaker": "open", "breaker_why": "3 stalls"}
    later, earlier = time.time_ns() + 60 * MINUTE_NS, time.time_ns() - MINUTE_NS
    for host, told in {
        "well": state("well"),
        "alone": state("alone", guarded=False),
        "broken": state("broken", breaker_until_unix_ns=later, **open_breaker),
        "over": state("over", breaker_until_unix_ns=earlier, **open_breaker),
    }.items():
        await inventories.put(f"{host}.inventory", inventory(host))
        await schedulers.put(f"{host}.scheduler", told)
    hosts = Hosts(bus, inventories, schedulers)
    following = asyncio.create_task(hosts.follow())
    try:
        await eventually(lambda: hosts.held_back().keys() == {"alone", "broken"})
        assert hosts.held_back()["alone"] == "it has no guard"
        assert "3 stalls" in hosts.held_back()["broken"]
        await schedulers.put("broken.scheduler", state("broken"))
        await eventually(lambda: "broken" not in hosts.held_back())
    finally:
        await end([following])
