"""Ratios as changes for the better or the worse, on the log axis where the judge counts."""

from __future__ import annotations

from shared.statistics import worsening


def used(ratio: float, allowed: float, direction: str) -> float | None:
    """How much of what is allowed was used up: 1 at the bound, below 0 better than before."""
    room = worsening(allowed, direction)
    return worsening(ratio, direction) / room if room > 0 else None
