from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.subjects import Subjects
from tests.planner.paper_fleet import Minds, PaperFleet, working


@pytest.fixture
async def minds(nats_url: str, subjects: Subjects, fleet: PaperFleet) -> AsyncIterator[Minds]:
    """A planner and a learner beside the module's own fleet."""
    async with working(nats_url, subjects) as minds:
        yield minds
