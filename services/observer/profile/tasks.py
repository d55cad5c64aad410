"""Follows each task through the samples: what it used, how it waited, how long it lived.

A task is a thread with its start time, since thread ids come back. What it did between its
last reading and its end is estimated from its rates until then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.observer.profile.sampler import Details, Reading, Sample

_RATES_HOLD_S: Final = 0.1
_LONGEST_GUESS: Final = 3.0
"""What was not read is guessed from the rates before. Rates over less than this time (a task
that has just begun runs at once) are believed for this many times as long."""


@dataclass(slots=True)
class Span:
    """One task between two readings: how often it got a CPU, and how long it waited for it."""

    slices: int
    wait_ns: int


@dataclass(slots=True)
class Task:
    """One task of the workload. Counters are over `read_s`, the time between its readings.

    `lived_s` is how long it was there while it was watched, give or take `unsure_s`: it ended
    between two looks. `born` and `ended` say whether its beginning and its end were watched.
    `voluntary`, `involuntary` and `migrations` are counted more seldom than the rest, and
    serve as shares of each other.
    """

    tid: int
    begin_s: float
    born: bool
    ended: bool = False
    lived_s: float = 0.0
    unsure_s: float = 0.0
    read_s: float = 0.0
    run_ns: int = 0
    wait_ns: int = 0
    slices: int = 0
    voluntary: int = 0
    involuntary: int = 0
    migrations: int = 0
    spans: list[Span] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """What its counters are multiplied with to stand for all the time it lived."""
        if self.read_s <= 0.0:
            return 1.0
        most = math.inf if self.read_s >= _RATES_HOLD_S else 1.0 + _LONGEST_GUESS
        return min(max(1.0, self.lived_s / self.read_s), most)

    @property
    def run_s(self) -> float:
        """CPU time while it was watched."""
        return min(self.run_ns / 1e9 * self.scale, max(self.lived_s, self.run_ns / 1e9))

    @property
    def unsure_run_s(self) -> float:
        """CPU time that it may have used besides, at its usual rate."""
        return self.run_s / self.lived_s * self.unsure_s if self.lived_s > 0.0 else 0.0

    @property
    def wait_s(self) -> float:
        """Time it was runnable and not running."""
        return min(self.wait_ns / 1e9 * self.scale, max(self.lived_s, self.wait_ns / 1e9))

    @property
    def runnable_share(self) -> float:
        """Share of its time in which it ran or waited to run."""
        if self.read_s <= 0.0:
            return 0.0
        return min(1.0, (self.run_ns + self.wait_ns) / 1e9 / self.read_s)

    @property
    def wakeups(self) -> float:
        """How often it slept, which is how often it was woken, while it was watched."""
        return self._of_slices(self.voluntary)

    @property
    def preemptions(self) -> float:
        """How often it lost its CPU while it wanted to go on."""
        return self._of_slices(self.involuntary)

    @property
    def moves(self) -> float:
        """How often it went to another CPU."""
        return self._of_slices(self.migrations)

    @property
    def voluntary_share(self) -> float:
        """Share of its switches in which it went to sleep; 0 for one that never switched."""
        switches = self.voluntary + self.involuntary
        return self.voluntary / switches if switches else 0.0

    @property
    def run_per_wakeup_s(self) -> float:
        """CPU time between two sleeps; all of it for a task that never slept."""
        return self.run_s / max(1.0, self.wakeups)

    @property
    def wakeups_per_s(self) -> float:
        """`wakeups` over the time it lived."""
        return self.wakeups / self.lived_s if self.lived_s > 0.0 else 0.0

    def _of_slices(self, count: int) -> float:
        """Every slice ends in a switch, so what holds for the switches counted holds for all."""
        switches = self.voluntary + self.involuntary
        return self.slices * self.scale * count / switches if switches else 0.0


def follow(samples: Sequence[Sample]) -> list[Task]:
    """All tasks that were read at least once, in the order of their first reading."""
    if not samples:
        return []
    histories: dict[tuple[int, float], list[Reading]] = {}
    current: dict[int, tuple[int, float]] = {}
    last_look: dict[tuple[int, float], int] = {}
    for look, sample in enumerate(samples):
        for tid, reading in sample.readings.items():
            key = (tid, reading.started_s)
            current[tid] = key
            histories.setdefault(key, []).append(reading)
            last_look[key] = look
        for tid in sample.present:
            if tid in current:
                last_look[current[tid]] = look
    times = [sample.at_s for sample in samples]
    return [
        _task(tid, readings, times, last_look[tid, started_s])
        for (tid, started_s), readings in histories.items()
    ]


def _task(tid: int, readings: list[Reading], times: list[float], last_look: int) -> Task:
    """One task's history; times since boot. Start times are rounded down to a clock tick.

    `times` are those of all looks, the `last_look`-th was the last to see it. A task that was
    gone at the next is taken to have ended half-way between the two.
    """
    first, last = readings[0], readings[-1]
    born = first.started_s >= times[0]
    begin_s = first.started_s if born else first.at_s
    ended = last_look + 1 < len(times)
    seen_s = max(times[last_look], last.at_s)
    unsure_s = max(0.0, (times[last_look + 1] - seen_s) / 2) if ended else 0.0
    task = Task(
        tid=tid,
        begin_s=begin_s,
        born=born,
        ended=ended,
        lived_s=max(0.0, min(seen_s + unsure_s, times[-1]) - max(begin_s, times[0])),
        unsure_s=unsure_s,
        read_s=max(0.0, last.at_s - begin_s),
    )
    if born:
        _count(task, None, first)
    for before, after in pairwise(readings):
        _count(task, before, after)
    details = [reading.details for reading in readings if reading.details is not None]
    if born and details:
        _count_switches(task, None, details[0])
    for earlier, later in pairwise(details):
        _count_switches(task, earlier, later)
    return task


def _count(task: Task, before: Reading | None, after: Reading) -> None:
    """Counts what happened between two readings, or since the task began."""
    span = Span(
        slices=_since(before.slices if before else 0, after.slices),
        wait_ns=_since(before.wait_ns if before else 0, after.wait_ns),
    )
    task.run_ns += _since(before.run_ns if before else 0, after.run_ns)
    task.slices += span.slices
    task.wait_ns += span.wait_ns
    if span.slices:
        task.spans.append(span)


def _count_switches(task: Task, before: Details | None, after: Details) -> None:
    """The same for what is read more seldom. A kernel that counts no migrations shows some."""
    task.voluntary += _since(before.voluntary if before else 0, after.voluntary)
    task.involuntary += _since(before.involuntary if before else 0, after.involuntary)
    if after.migrations >= 0:
        task.migrations += _since(before.migrations if before else 0, after.migrations)
    elif before is not None and before.cpu != after.cpu:
        task.migrations += 1


def _since(before: int, after: int) -> int:
    """How much a counter grew; nothing where it was reset."""
    return max(0, after - before)
