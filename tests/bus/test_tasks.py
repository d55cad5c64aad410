"""Ending what runs in the background, whatever it swallows."""

from __future__ import annotations

import asyncio

import pytest

from shared.tasks import end, together


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    async def broken() -> None:
        raise ValueError

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await end(tasks)
    assert swallowed == 3
    assert all(task.done() for task in tasks)


async def test_nothing_to_end_is_fine() -> None:
    await end([])


async def test_of_what_is_done_together_nothing_outlives_its_end() -> None:
    swallowed = False

    async def deaf() -> None:
        nonlocal swallowed
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            swallowed = True
        await asyncio.sleep(3600)

    async def broken() -> None:
        await asyncio.sleep(0)
        raise ValueError

    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match=r"^$"):
        await together(deaf(), broken())
    assert swallowed
    assert asyncio.all_tasks() == before
    swallowed = False
    both = asyncio.create_task(together(deaf(), deaf()))
    await asyncio.sleep(0.01)
    await end([both])
    assert swallowed
    assert asyncio.all_tasks() == before
