"""Whether ordinary tasks starve, by the victim probe's delays: pure.

A busy host delays everybody under the kernel's default, too. So the limit is measured there, by the
same figure: the least of WINDOWS worst delays in a row. Only what is several times worse than the
worst of these, and bad in itself, is the policy's doing.
"""

from __future__ import annotations

from collections import deque

from services.executor.guard.limits import (
    BASELINE_FACTOR,
    BASELINE_WINDOWS,
    LEAST_LIMIT_S,
    MOST_LIMIT_S,
    WINDOWS,
)
from services.executor.guard.watch import Finding


class Starvation:
    """Takes a window's worst delay after the other."""

    def __init__(self) -> None:
        self._default: deque[float] = deque(maxlen=BASELINE_WINDOWS)
        """Under the default: the least of each WINDOWS in a row."""
        self._recent: deque[float] = deque(maxlen=WINDOWS)
        self._under_ours = False

    @property
    def baseline_s(self) -> float:
        """The worst that the default did to the probe for WINDOWS in a row."""
        return max(self._default, default=0.0)

    @property
    def limit_s(self) -> float:
        """More than this is too much."""
        return min(max(LEAST_LIMIT_S, BASELINE_FACTOR * self.baseline_s), MOST_LIMIT_S)

    @property
    def recent_s(self) -> list[float]:
        """The last windows' worst delays, all under the same scheduler."""
        return list(self._recent)

    def window(self, worst_s: float, *, ours: bool) -> Finding | None:
        """Take in a window that had one scheduler from its begin to its end."""
        if ours is not self._under_ours:
            self.switched()
            self._under_ours = ours
        self._recent.append(worst_s)
        if len(self._recent) < WINDOWS:
            return None
        least_s = min(self._recent)
        if not ours:
            self._default.append(least_s)
            return None
        if least_s <= self.limit_s:
            return None
        delays = ", ".join(f"{delay:.2f}" for delay in self._recent)
        return Finding(
            "starvation",
            f"an ordinary task had to wait {delays} s in {WINDOWS} windows in a row; at most "
            f"{self.limit_s:.2f} s are allowed, {self.baseline_s:.2f} s under the default",
        )

    def switched(self) -> None:
        """Another scheduler: what was seen says nothing about it."""
        self._recent.clear()
