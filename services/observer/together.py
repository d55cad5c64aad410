"""Workloads that run at once: each until every one of them has been measured.

All start together. Who ends before the others were measured is started again, as load that
nobody measures. So each one's first run, the one that counts, has all others beside it from
its first to its last moment; but for the moments in which a process of theirs starts anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.schedule import repeated_seed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.observer.fenced import Ended, Fenced
    from shared.workloads import Workload


class Tenant:
    """One of several workloads: its first run is measured, others follow as load.

    `start` starts it with a seed; `read` makes metrics of an end, or raises WorkloadError.
    """

    def __init__(
        self,
        workload: Workload,
        seed: int,
        start: Callable[[int], Awaitable[Fenced]],
        read: Callable[[Ended], dict[str, float]],
    ) -> None:
        self.workload = workload
        self.measured = asyncio.Event()
        self.metrics: dict[str, float] = {}
        """Of its first run, once `measured` is set."""
        self.ended: Ended | None = None
        """How its first run ended, the same."""
        self._seed = seed
        self._start = start
        self._read = read
        self._first: Fenced | None = None

    async def begin(self) -> None:
        """Start the first run."""
        self._first = await self._start(self._seed)

    @property
    def first(self) -> Fenced:
        """The first run. Its control group stays until `close`, so that it can be read."""
        assert self._first is not None
        return self._first

    async def live(self, others: Sequence[Tenant]) -> None:
        """End the first run, then run again while one of the others has not been measured.

        Every end is looked at: load that fails is no load. Raises WorkloadError.
        """
        self.ended = await self.first.end()
        self.metrics = self._read(self.ended)
        self.measured.set()
        run = 0
        while not all(other.measured.is_set() for other in others):
            run += 1
            again = await self._start(repeated_seed(self._seed, self.workload.name, run))
            try:
                self._read(await again.end())
            finally:
                await again.close()

    async def close(self) -> None:
        """End it and leave nothing behind."""
        if self._first is not None:
            await self._first.close()


async def measure_all(tenants: Sequence[Tenant]) -> None:
    """Until all have been measured; no load runs any more then. Raises the first failure."""
    lives = [asyncio.create_task(each.live(tenants)) for each in tenants]
    try:
        # Only who is measured last ends by itself, or who fails.
        done, _ = await asyncio.wait(lives, return_when=asyncio.FIRST_COMPLETED)
        for life in done:
            life.result()
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
