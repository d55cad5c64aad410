from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.bus import Bus
from shared.subjects import Subjects
from tests.planner.paper_fleet import FLEET, Minds, PaperFleet, working


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    """Three hosts; a module that needs others has a fixture of its own."""
    fleet = PaperFleet(bus)
    await fleet.join(*FLEET)
    yield fleet
    await fleet.stop()


@pytest.fixture
async def minds(nats_url: str, subjects: Subjects, fleet: PaperFleet) -> AsyncIterator[Minds]:
    """A planner and a learner beside the module's own fleet."""
    async with working(nats_url, subjects) as minds:
        yield minds
