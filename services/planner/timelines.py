"""How time passes in an optimization, whatever the clocks of its planners say.

Its record holds moments: until when something is waited for, since when it stands still. They are
by the wall clock of whoever wrote it last, which may be wrong, or step a moment later. So no
planner compares them with its own. What has passed since a record was written is counted from when
that was seen, by a clock that never steps; and who writes it next moves all of its moments to his
own wall clock (`moved`), so that what was left to wait is left still.

Time never runs ahead like this, so nothing ends early. It falls behind by what passes between a
write and its being seen, and stands still while there is no planner.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.optimization import Optimization


def since_boot_ns() -> int:
    """A clock that never steps, and goes on while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Timelines:
    """What time it is by each record, as this planner counts it."""

    def __init__(self, clock_ns: Callable[[], int] = since_boot_ns) -> None:
        self._clock_ns = clock_ns
        self._seen: dict[str, tuple[int, int]] = {}
        """By optimization: when its record was written, and our clock when we saw that."""

    def see(self, state: Optimization) -> None:
        """This is what its record says now."""
        self._seen[state.id] = _written(state), self._clock_ns()

    def forget(self, identity: str) -> None:
        """Nothing will happen there any more."""
        self._seen.pop(identity, None)

    def now(self, state: Optimization) -> int:
        """What time it is by the clock that its moments are by, ns since 1970."""
        now_ns = self._clock_ns()
        at_unix_ns, seen_ns = self._seen.get(state.id, (_written(state), now_ns))
        return at_unix_ns + now_ns - seen_ns


def moved(state: Optimization, by_ns: int) -> Optimization:
    """The same by a clock that is so far ahead of the one that its moments are by."""
    return replace(
        state,
        at_unix_ns=state.at_unix_ns + by_ns,
        expires_unix_ns=state.expires_unix_ns + by_ns,
        deadline_unix_ns=state.deadline_unix_ns and state.deadline_unix_ns + by_ns,
        held_unix_ns=state.held_unix_ns and state.held_unix_ns + by_ns,
        cohorts=[
            replace(each, began_unix_ns=each.began_unix_ns and each.began_unix_ns + by_ns)
            for each in state.cohorts
        ],
    )


def _written(state: Optimization) -> int:
    # Before records said when they were written, all planners' clocks were taken for the same.
    return state.at_unix_ns or time.time_ns()
