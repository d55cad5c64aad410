"""Waiting for what has no event: what other processes and other tasks bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], T], within_s: float = 60.0) -> T:
    """What the condition gives once it gives something true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not (value := condition()):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    return value
