"""Whether the executor still holds what it has loaded: pure, it is told time and sights."""

from __future__ import annotations

from typing import Literal, NamedTuple

from services.executor.guard.limits import ABSENT_S, SILENCE_S, TICK_S

Cause = Literal["hang", "orphan", "starvation", "operator"]


class Finding(NamedTuple):
    """Why the default must come back."""

    cause: Cause
    reason: str


class Watch:
    """Counts silence. Time in which the guard itself was stopped counts against nobody."""

    def __init__(self, now_s: float) -> None:
        self._looked_s = now_s
        self._heard_s: float | None = None
        self._orphaned_s: float | None = None

    def beat(self, now_s: float) -> None:
        """The executor gave a sign of life."""
        self._heard_s = now_s

    def gone(self) -> None:
        """The executor closed its connection: it has ended, or was killed."""
        self._heard_s = None

    def silent_s(self, now_s: float) -> float | None:
        """For how long the executor has been silent; None if there is none."""
        return None if self._heard_s is None else now_s - self._heard_s

    def look(self, now_s: float, *, ours: bool) -> Finding | None:
        """Take a look in, about every TICK_S."""
        absent_s = now_s - self._looked_s - TICK_S
        self._looked_s = now_s
        if absent_s > ABSENT_S:
            if self._heard_s is not None:
                self._heard_s += absent_s
            if self._orphaned_s is not None:
                self._orphaned_s += absent_s
        silent_s = self.silent_s(now_s)
        if not ours or silent_s is not None:
            self._orphaned_s = None
        elif self._orphaned_s is None:
            self._orphaned_s = now_s
        if not ours:
            return None
        if silent_s is not None and silent_s > SILENCE_S:
            return Finding("hang", f"the executor gave no sign of life for {silent_s:.1f} s")
        if self._orphaned_s is not None and now_s - self._orphaned_s > SILENCE_S:
            alone_s = now_s - self._orphaned_s
            return Finding("orphan", f"no executor has answered for it for {alone_s:.1f} s")
        return None
