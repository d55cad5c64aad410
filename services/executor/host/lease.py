"""How long a promotion outlives the bus, or the queue on it by which this host gets its orders.

A host that nobody can reach cannot be told to go back, so it keeps a promoted policy for a set
time only. A trial has no such lease: it goes back at once, because nobody measures it any more.
"""

from __future__ import annotations

import msgspec


class Lease(msgspec.Struct, frozen=True):
    """Since when nobody can reach this host, by its own clock."""

    away_since_s: float

    def over(self, lease_s: float, now_s: float) -> bool:
        """Whether what was promoted must go because nobody can for too long."""
        return now_s - self.away_since_s >= lease_s
