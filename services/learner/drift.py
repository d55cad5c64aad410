"""Whether a figure has left what it was for good: a pure fold over samples.

Each sample is a log. Samples make blocks, a block is worth its median, so that a spike is nothing.
The first day of blocks makes a band: what is normal, with its daily ups and downs. From then on the
excess of each block over every band that was ever normal is summed up (Page, "Continuous
inspection schemes", 1954), less an allowance: what comes and goes is paid back, what stays is
found. Having fired, it learns what is normal now for a day and can say nothing before: that is the
cool-down. What was normal once stays so, so a load that alternates is news once for each of its
states.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

from shared.statistics import median

if TYPE_CHECKING:
    from shared.messages import Vitals

BLOCK = 6
"""Samples of a block: an hour of them, one each ten minutes."""

DAY = 24
"""Blocks that make a band."""

ALLOWANCE = 0.10
"""Logs beyond a band that are nothing: ten percent. At least; and a quarter of the band's width."""

LIMIT = 1.0
"""Summed excess that fires: a figure twice as large for three hours, by a third for six."""

MOST = LIMIT / 2
"""Of one block: no two hours alone are a drift, whatever happens in them."""

BANDS = 4
"""The latest that count as normal."""

FLOOR = 0.02
"""Waiting of 20 ms for each second of work is nothing: ratios of such numbers are damped."""

LEAST_LOAD = 0.05
"""CPUs in use below which a host has too little work for its waiting to say anything."""

LOAD_FLOOR = 0.25
"""A quarter of a CPU more or less in use is nothing."""

SHORTEST_NS, LONGEST_NS = 30 * 10**9, 2 * 3600 * 10**9
"""Between two looks at a host's counters, for their difference to be one sample."""

Figure = Literal["waiting", "load"]


class Band(NamedTuple):
    """What was normal."""

    low: float
    high: float

    def excess(self, value: float) -> float:
        """How far beyond it a block is, less the allowance; below zero inside."""
        beyond = max(value - self.high, self.low - value)
        return beyond - max(ALLOWANCE, 0.25 * (self.high - self.low))


class Found(NamedTuple):
    """A drift: the band that was left, and the block at which it was certain."""

    band: Band
    value: float


class Detector:
    """One figure of one host."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._learning: list[float] | None = []
        """Blocks of the band that is learned now; None while it is watched."""
        self._bands: deque[Band] = deque(maxlen=BANDS)
        self._sum = 0.0

    @property
    def watching(self) -> bool:
        """Whether it knows what is normal."""
        return self._learning is None

    def take(self, sample: float) -> Found | None:
        """One more sample; what was found, at the moment in which it is."""
        self._samples.append(sample)
        if len(self._samples) < BLOCK:
            return None
        value, self._samples = median(self._samples), []
        return self._block(value)

    def _block(self, value: float) -> Found | None:
        if self._learning is not None:
            self._learning.append(value)
            if len(self._learning) == DAY:
                self._bands.append(Band(min(self._learning), max(self._learning)))
                self._learning, self._sum = None, 0.0
            return None
        nearest = min(self._bands, key=lambda band: band.excess(value))
        self._sum = max(0.0, self._sum + min(MOST, nearest.excess(value)))
        if self._sum <= LIMIT:
            return None
        self._learning, self._sum = [], 0.0
        return Found(nearest, value)


class Watched(NamedTuple):
    """A drift of a figure, with its numbers as a person reads them."""

    figure: Figure
    low: float
    high: float
    found: float


class Watch:
    """What is known of a host under what it keeps: the latest look, and a detector a figure."""

    def __init__(self) -> None:
        self._last: Vitals | None = None
        self._of: dict[Figure, Detector] = {"waiting": Detector(), "load": Detector()}

    def take(self, now: Vitals) -> list[Watched]:
        """One more look at its counters; what has drifted, mostly nothing."""
        last, self._last = self._last, now
        if last is None or last.boot_id != now.boot_id:
            return []
        took_ns, run_ns = now.at_ns - last.at_ns, now.run_ns - last.run_ns
        wait_ns = now.wait_ns - last.wait_ns
        if not SHORTEST_NS <= took_ns <= LONGEST_NS or run_ns < 0 or wait_ns < 0:
            return []
        samples: dict[Figure, tuple[float, float]] = {"load": (run_ns / took_ns, LOAD_FLOOR)}
        if run_ns >= LEAST_LOAD * took_ns:
            samples["waiting"] = wait_ns / run_ns, FLOOR
        drifted = []
        for figure, (value, floor) in samples.items():
            found = self._of[figure].take(math.log(value + floor))
            if found is not None:
                logs = (*found.band, found.value)
                drifted.append(Watched(figure, *(max(0.0, math.exp(x) - floor) for x in logs)))
        return drifted
