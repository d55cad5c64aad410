"""Fixtures that every test may use: a real NATS server, a namespace of its own, a bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from shared.bus import Bus, connect
from shared.bus.provision import provision
from shared.bus.server import NatsServer
from shared.subjects import Subjects

pytest_plugins = ["tests.second_try"]

# The machine may be busy with other tests: time proves nothing here.
settings.register_profile(
    "steady", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def fresh_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real server for each test process; tests keep apart by their namespaces."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server.url


@pytest.fixture
def subjects() -> Subjects:
    return Subjects(f"t-{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def bus(nats_url: str, subjects: Subjects) -> AsyncIterator[Bus]:
    """A connected bus whose namespace is provisioned."""
    bus = await connect(nats_url, subjects, "test", patience_s=10)
    await provision(bus.js, subjects)
    yield bus
    await bus.close()
