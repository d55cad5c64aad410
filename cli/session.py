"""How a command finds the bus and talks on it.

COX_NATS_URL wins; then the bus that `cox up` runs on this machine; then NATS's default port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, TypeVar

import structlog
from msgspec.structs import replace

from cli.fleet.keys import operator
from cli.fleet.state import read_state
from shared.bus import connect
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from shared.bus import Bus

T = TypeVar("T")

PATIENCE_S = 3.0
"""How long a person waits for a server that is not there."""


def settings() -> Settings:
    """The environment's settings, with the bus of this machine's `cox up` where none is set."""
    found = Settings.from_environment()
    if os.environ.get("COX_NATS_URL"):
        return found
    state = read_state()
    if state is None or not state.supervisor.alive:
        return found
    credentials = found.credentials if found.credentials.key else operator()
    return replace(found, nats_url=state.url, credentials=credentials)


@contextlib.asynccontextmanager
async def connected(patience_s: float = PATIENCE_S) -> AsyncIterator[Bus]:
    """A bus for one command. Raises BusUnavailableError."""
    found = settings()
    bus = await connect(
        found.nats_url,
        found.subjects,
        f"cox-{os.getpid()}",
        credentials=found.credentials,
        patience_s=patience_s,
    )
    try:
        yield bus
    finally:
        await bus.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work. Its libraries' logs stay silent: a command says things itself."""
    quiet_logs()
    return asyncio.run(work)


def quiet_logs() -> None:
    """Only with COX_DEBUG do a command's libraries log."""
    if os.environ.get("COX_DEBUG"):
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.ERROR)
