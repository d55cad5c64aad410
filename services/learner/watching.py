"""Hosts under what was promoted there: each look at their counters goes into a watch of its own.

The looks are events, so this is one more fold over the stream: a learner that starts anew comes to
the same drifts, at the same looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.learner.drift import Watch
from shared.messages import LIVE, Drifted

if TYPE_CHECKING:
    from services.learner.drift import Watched
    from shared.messages import Probed

MOST = 4096
"""Watches that are kept, the latest; who has not been looked at for long is not kept any more."""


class Watching:
    """The watches of all hosts, and what they have found."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], Watch] = {}
        self._found: list[Drifted] = []

    def take(self, probed: Probed) -> None:
        """One look, if it is of something that was promoted."""
        if not probed.mark.startswith(LIVE) or probed.vitals is None:
            return
        key = probed.optimization, probed.host
        watch = self._watches.pop(key, None) or Watch()
        self._watches[key] = watch
        if len(self._watches) > MOST:
            self._watches.pop(next(iter(self._watches)))
        self._found += [
            Drifted(
                optimization=probed.optimization,
                on=probed.host,
                figure=each.figure,
                low=each.low,
                high=each.high,
                found=each.found,
                at_ns=probed.vitals.at_ns,
                unix_ns=0,
                reasons=[_in_words(each)],
            )
            for each in watch.take(probed.vitals)
        ]

    def found(self) -> list[Drifted]:
        """What was found since this was asked before."""
        found, self._found = self._found, []
        return found


def _in_words(found: Watched) -> str:
    what, unit = {
        "waiting": ("tasks wait", "s for each second they run"),
        "load": ("tasks use", "CPUs"),
    }[found.figure]
    normal = f"{found.low:.2f} to {found.high:.2f} was normal"
    return f"{what} {found.found:.2f} {unit}, for hours; {normal}"
