"""Whether a command comes after the end of its optimization's budget, by the clock here."""

from __future__ import annotations

import time

from shared.errors import SchedulerError


def expired(expires_unix_ns: int) -> SchedulerError | None:
    """Why it is too late to begin, or None; 0 is never too late."""
    now = time.time_ns()
    if not expires_unix_ns or now < expires_unix_ns:
        return None
    return SchedulerError(
        "the command came too late",
        expected="to begin before its optimization's budget ends",
        got=f"{(now - expires_unix_ns) / 1e9:.0f} s after it",
        advice="Ask again; if it happens often, look at the clocks of hosts, gates and planners.",
    )
