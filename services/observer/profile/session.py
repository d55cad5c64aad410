"""Profiles a workload while it runs, or a whole host for a while, and says what that cost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from services.observer.profile.classifier import classify
from services.observer.profile.features import features
from services.observer.profile.pace import Pace
from services.observer.profile.phased import agreed, awake, phases_of
from services.observer.profile.phases import course
from services.observer.profile.sampler import BusyTicks, Sampler
from services.observer.profile.summary import summarize
from shared.messages import Cost, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from services.observer.profile.sampler import Beat, Sample
    from services.observer.runner import WorkloadRunner
    from shared.messages import Inventory, Phase
    from shared.workloads import Workload


_T = TypeVar("_T")

OF_ALL: Final = (
    "kernel_thread_share",
    "psi_cpu_share",
    "psi_io_share",
    "psi_memory_share",
    "host_wait_mean_ms",
    "host_run_mean_ms",
)
"""Features that stand for all the time watched, whatever part of it the others are of."""

_NICE: Final = -15
"""Beside 40 hogs on two CPUs, a look of some milliseconds would take a second in its turn."""


async def profile_workload(
    runner: WorkloadRunner,
    workload: Workload,
    seed: int,
    host: str,
    inventory: Inventory,
    beside: Sequence[Workload] = (),
) -> Profile:
    """Run the workload once and watch it from its first to its last moment.

    It is watched alone, but with its neighbours beside it. All metrics become the profile's
    `baseline`. Raises what the runner raises for a workload that cannot run, or gave no metrics.
    """
    watch = _Watch(inventory)
    await watch.begin()
    async with runner.started(workload, seed, beside=beside) as running:
        ended = asyncio.ensure_future(running.ended())
        try:
            await watch.until(ended, running.pids, running.cgroup)
        finally:
            if not ended.done():
                ended.cancel()
        measurement = await running.wait()
    return await watch.end(host, workload.name, measurement.metrics)


async def profile_host(seconds: float, host: str, inventory: Inventory) -> Profile:
    """Watch all that runs on this host for a while; kernel threads and this process excepted."""
    watch = _Watch(inventory)
    await watch.begin()
    ended = asyncio.ensure_future(asyncio.sleep(seconds))
    try:
        await watch.until(ended, watch.sampler.pids, None)
    finally:
        ended.cancel()
    return await watch.end(host, "host", {})


class _Watch:
    """One profile in the making. A thread looks, so that the service stays responsive."""

    def __init__(self, inventory: Inventory) -> None:
        self.sampler = Sampler()
        self._inventory = inventory
        self._pace = Pace(inventory.cpus, emulated=inventory.virtualization.startswith("qemu-tcg"))
        self._samples: list[Sample] = []
        self._beats: list[Beat] = []
        self._before = BusyTicks(0, 0)
        self._cpu_s = 0.0
        self._began_s = time.monotonic()

    async def begin(self) -> None:
        """Note what kernel threads have used until now. Before the workload starts: it is slow."""
        self._before = await asyncio.to_thread(self._paid, self.sampler.kernel_threads)

    async def until(
        self,
        ended: asyncio.Future[_T],
        pids: Callable[[], Iterable[int]],
        cgroup: Path | None,
    ) -> None:
        """Look at once, then again and again; the last look comes when `ended` is done."""
        over = threading.Event()
        ended.add_done_callback(lambda _: over.set())
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "looking", _go_first) as thread:
            try:
                await loop.run_in_executor(thread, self._look_until, over, pids, cgroup)
            finally:
                over.set()

    async def end(self, host: str, workload: str, baseline: dict[str, float]) -> Profile:
        """The profile of what was seen."""
        found, phases = await asyncio.to_thread(self._paid, self._features)
        classification = agreed(classify(found), phases)
        return Profile(
            host=host,
            workload=workload,
            features=found,
            workload_class=classification.workload_class,
            confidence=classification.confidence,
            summary=summarize(found, classification, self._inventory, workload, phases),
            baseline=baseline,
            seconds=self._samples[-1].at_s - self._samples[0].at_s,
            cost=Cost(wall_s=time.monotonic() - self._began_s, cpu_s=self._cpu_s),
            phases=phases,
        )

    def _features(self) -> tuple[dict[str, float], list[Phase]]:
        samples = self._samples
        whole = features(samples, self._before, self.sampler.kernel_threads())
        seen = course(self._beats, self.sampler.ticks_per_s)
        active = awake(samples, seen)
        found = whole
        if len(active) < len(samples):
            # What is known of all of it only, a part cannot tell: pressure, kernel threads.
            partly = features(active, self._before, self.sampler.kernel_threads())
            found = whole | partly | {name: whole[name] for name in OF_ALL if name in whole}
        found |= {
            "still_share": 1.0 - found["seconds"] / whole["seconds"],
            "phase_count": float(max(1, len(seen.kinds))),
            "phase_changes_per_s": seen.changes / whole["seconds"],
            "phase_returns_count": float(seen.returns),
        }
        return found, phases_of(seen, self._samples)

    def _look_until(
        self, over: threading.Event, pids: Callable[[], Iterable[int]], cgroup: Path | None
    ) -> None:
        self._look(pids, cgroup, totals=True)
        due_s = time.monotonic() + self._pace.interval_s
        while not over.wait(max(0.0, min(self._pace.beat_s, due_s - time.monotonic()))):
            if time.monotonic() >= due_s:
                self._look(pids, cgroup, totals=False)
                due_s = time.monotonic() + self._pace.interval_s
            else:
                self._beat(cgroup)
        self._look(pids, cgroup, totals=True)

    def _beat(self, cgroup: Path | None) -> None:
        before_s = self._cpu_s
        self._beats.append(self._paid(lambda: self.sampler.beat(cgroup)))
        self._pace.beaten(self._cpu_s - before_s)

    def _look(
        self, pids: Callable[[], Iterable[int]], cgroup: Path | None, *, totals: bool
    ) -> None:
        # A look reads its files one after the other, and tasks in between: a beat is one moment.
        self._beat(cgroup)
        allowance_s = self._pace.allowance_s
        before_s = self._cpu_s
        self._samples.append(
            self._paid(
                lambda: self.sampler.take(
                    pids(), cgroup=cgroup, allowance_s=allowance_s, totals=totals
                )
            )
        )
        if not totals:
            self._pace.spent(self._cpu_s - before_s, allowance_s)

    def _paid(self, work: Callable[[], _T]) -> _T:
        """Do it, and count this thread's CPU time."""
        before_s = time.thread_time()
        try:
            return work()
        finally:
            self._cpu_s += time.thread_time() - before_s


def _go_first() -> None:
    """Let this thread run before those it looks at, where the host permits (RLIMIT_NICE)."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
