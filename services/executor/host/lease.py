"""How long a promotion outlives the bus.

A host that nobody can reach cannot be told to go back, so it keeps a promoted policy for a set
time only. A trial has no such lease: it goes back at once, because nobody measures it any more.
"""

from __future__ import annotations


class Lease:
    """When the bus was there for the last time, by this host's own clock."""

    def __init__(self, now_s: float) -> None:
        self._heard_s = now_s

    def expired(self, *, connected: bool, now_s: float, lease_s: float) -> bool:
        """Take a look in; whether what was promoted must go because the bus is away too long."""
        if connected:
            self._heard_s = now_s
            return False
        return now_s - self._heard_s >= lease_s
