"""The moment in which a connection is back and the bus has not been told yet."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

from services.executor.host.service import HostExecutor
from shared.subjects import Subjects


class JustBack:
    """Connected, and still said to be away: whoever asks again without a pause turns for ever."""

    def __init__(self) -> None:
        self.nc = SimpleNamespace(is_connected=True)
        self.subjects = Subjects()
        self.footing = SimpleNamespace(
            is_lost=lambda _stream, _consumer: False, changed=asyncio.Event().wait
        )
        self.asked = 0

    async def away(self) -> None:
        self.asked += 1
        assert self.asked < 10, "it turns without letting anybody else run"


async def test_a_host_lets_the_bus_say_that_it_is_back() -> None:
    bus = JustBack()
    steering = SimpleNamespace(host="h1")
    executor = HostExecutor(cast("Any", bus), cast("Any", None), cast("Any", steering))
    keeping = asyncio.create_task(executor._keep_lease())
    for _ in range(20):
        await asyncio.sleep(0)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert bus.asked == 1
