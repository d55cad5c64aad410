"""Background tasks, and ending them for sure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

AGAIN_S = 0.5


async def end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they are over; what they raise is theirs alone.

    Once may not be enough: Python 3.11's `asyncio.wait_for`, on which nats-py waits, forgets a
    cancellation that comes in the moment in which an answer does (python/cpython#86296). A task
    that goes on for ever then would be waited for as long.
    """
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def together(*jobs: Coroutine[Any, Any, None]) -> None:
    """Do all of these side by side; none of them outlives this, however it ends.

    What asyncio.gather leaves behind when one of them ends early, nobody would cancel twice.
    """
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(tasks)
