"""What a host says of itself outlives the bucket that it is said in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from services.observer import service
from shared.bus import Bus, connect
from shared.bus.provision import provision, provision_host
from shared.messages import Inventory
from shared.settings import Settings
from shared.telemetry import start_telemetry
from tests.planner.world import inventory


class Eyes:
    """They see a host on paper, and nothing else is asked of them."""

    def inventory(self) -> Inventory:
        return inventory("h1")


async def introduced(bus: Bus) -> None:
    """Return once the host's inventory is there."""
    records = await bus.records("hosts", Inventory)
    async with asyncio.timeout(60):
        while await records.get("h1.inventory") is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_an_inventory_that_was_lost_is_told_again_long_before_its_time(
    bus: Bus, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "INVENTORY_S", 0.05)
    await provision_host(bus.js, bus.subjects, "h1")
    settings = replace(Settings(), host="h1", state_dir=tmp_path)
    telemetry = start_telemetry("observer", "h1", publish=None)
    own = await connect(nats_url, bus.subjects, "h1", patience_s=10)
    try:
        async with service.observer(settings, own, telemetry, Eyes()):  # type: ignore[arg-type]
            await introduced(bus)
            await own.footing.look()
            await bus.js.delete_key_value(bus.subjects.bucket("hosts"))
            await provision(bus.js, bus.subjects)
            own.footing.suspect()  # as a roll call does, and a planner that misses it calls one
            await introduced(bus)
    finally:
        await own.close()
        await telemetry.shutdown()
