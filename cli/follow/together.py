"""Optimizations followed side by side to their ends, under one Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from shared.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cli.follow.follower import Follower


async def follow_to_the_end(followers: Sequence[Follower], *, cancels: bool = True) -> bool:
    """Follow all of them; False if Ctrl-C left them before their ends.

    With `cancels` the first Ctrl-C cancels those that go on and sees them through, and the second
    leaves them to the planner; without it the first one leaves.
    """
    following = [asyncio.create_task(follower.run()) for follower in followers]
    cancelling: list[asyncio.Task[None]] = []
    left = False

    def pressed() -> None:
        nonlocal left
        if cancels and not cancelling:
            cancelling.extend(asyncio.create_task(follower.cancel()) for follower in followers)
            return
        left = True
        for task in following:
            task.cancel()

    with _interrupts(pressed):
        try:
            await asyncio.gather(*following)
        except asyncio.CancelledError:
            if not left:
                raise
        finally:
            await end([*following, *cancelling])
    return not left


@contextlib.contextmanager
def _interrupts(pressed: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, pressed)
    loop.add_signal_handler(signal.SIGTERM, pressed)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
