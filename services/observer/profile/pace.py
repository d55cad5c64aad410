"""How often to look, and how much of it to pay for.

Sampling may use 2 % of the host's CPU time, of an emulated host's 5 %: there /proc takes ten
times as long to read. Where that is not enough, looks come less often and read fewer tasks.
Beats between looks may use a quarter of that besides, and come less often where they are dear.
"""

from __future__ import annotations

from typing import Final

CPU_SHARE: Final = 0.02
EMULATED_CPU_SHARE: Final = 0.05
"""Of all the CPU time the host has."""

BEATS_SHARE: Final = 0.25
"""For beats, of what looks may use."""

SHORTEST_BEAT_S: Final = 0.04
"""More often, and the clock ticks that CPU time is counted in would show."""
SHORTEST_S: Final = 0.2
LONGEST_S: Final = 2.0

MOST_FOR_TASKS_S: Final = 0.05
"""CPU time for reading tasks at one look, on a host of any size."""


class Pace:
    """Follows what looking costs, and answers with the next interval and allowance."""

    def __init__(self, cpus: int, *, emulated: bool = False) -> None:
        self._rate = (EMULATED_CPU_SHARE if emulated else CPU_SHARE) * max(1, cpus)
        self._fixed_s = 0.0
        self._beat_s = 0.0

    def beaten(self, cpu_s: float) -> None:
        """A beat cost that much CPU time; followed in the same way."""
        self._beat_s += (cpu_s - self._beat_s) / 4

    @property
    def beat_s(self) -> float:
        """Time until the next beat."""
        return max(SHORTEST_BEAT_S, self._beat_s / (BEATS_SHARE * self._rate))

    def spent(self, cpu_s: float, allowance_s: float) -> None:
        """A look cost `cpu_s`, of which at most `allowance_s` went to tasks.

        The rest is what every look costs; it is followed as a mean that forgets (1/4).
        """
        fixed_s = max(0.0, cpu_s - allowance_s)
        self._fixed_s += (fixed_s - self._fixed_s) / 4

    @property
    def interval_s(self) -> float:
        """Time until the next look: long enough that half the budget is left for tasks."""
        return min(LONGEST_S, max(SHORTEST_S, 2 * self._fixed_s / self._rate))

    @property
    def allowance_s(self) -> float:
        """CPU time for reading tasks at the next look."""
        left_s = self._rate * self.interval_s - self._fixed_s
        return min(MOST_FOR_TASKS_S, max(0.0, left_s))
