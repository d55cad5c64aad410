"""The rate breaker: after too much trouble on a host nothing is loaded there for a while.

Pure: a breaker and a moment give a phase, a breaker and news give the next breaker.

    closed ──too much trouble in a window──▶ open ──its time is over──▶ half-open
      ▲                                       ▲                            │  │
      │                                       └─────────any fault──────────┘  │
      └──────────────────────a load that lived for CALM_S─────────────────────┘

Each opening lasts twice as long as the one before, unless there was peace for FORGET_S. Times are
wall-clock ns since 1970, for the breaker outlives a reboot. A clock that steps ahead closes it
early; one that is set back keeps it open for no longer than a whole opening (`settled`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Phase = Literal["closed", "open", "half-open"]
Kind = Literal["fault", "reload"]

S = 1_000_000_000
WINDOW_S = 600
MAX_FAULTS = 3
"""So many faults within the window open it: no candidate in a row of three was fit."""
MAX_TROUBLES = 6
"""So many faults and reloads together do so, too: a host that lets go again and again."""
FIRST_S = 60
LONGEST_S = 3600
CALM_S = 60
FORGET_S = 3600


class Trouble(msgspec.Struct, frozen=True):
    """Something that should not happen often."""

    unix_ns: int
    kind: Kind
    what: str


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered; a fresh one is closed."""

    troubles: tuple[Trouble, ...] = ()
    """Those in the window."""
    openings: int = 0
    """In a row, with no peace between them."""
    until_unix_ns: int = 0
    """When the last opening ends, or ended."""
    why: str = ""
    loaded_unix_ns: int = 0
    """The first load since that."""


def phase(breaker: Breaker, now_unix_ns: int) -> Phase:
    """What may be done now: everything, nothing, or one careful load."""
    if not breaker.openings:
        return "closed"
    if now_unix_ns < breaker.until_unix_ns:
        return "open"
    loaded = breaker.loaded_unix_ns
    if loaded and now_unix_ns - loaded >= CALM_S * S:
        return "closed"
    return "half-open"


def troubled(breaker: Breaker, kind: Kind, what: str, now_unix_ns: int) -> Breaker:
    """After a fault or a reload."""
    before = phase(breaker, now_unix_ns)
    recent = (*_recent(breaker, now_unix_ns), Trouble(now_unix_ns, kind, what))
    faults = sum(each.kind == "fault" for each in recent)
    too_many = faults >= MAX_FAULTS or len(recent) >= MAX_TROUBLES
    noted = msgspec.structs.replace(breaker, troubles=recent)
    if before == "open" or not (too_many or (before == "half-open" and kind == "fault")):
        return noted
    peace = now_unix_ns - breaker.until_unix_ns >= FORGET_S * S
    openings = 1 if peace else breaker.openings + 1
    lasts_s = backoff_s(openings)
    return Breaker(
        openings=openings,
        until_unix_ns=now_unix_ns + lasts_s * S,
        why=f"{faults} faults and {len(recent) - faults} reloads within {WINDOW_S // 60} min, "
        f"the last: {what}"
        if too_many
        else f"a fault while it was half-open: {what}",
    )


def backoff_s(openings: int) -> int:
    """How long that opening of a row lasts."""
    return min(FIRST_S << min(max(openings, 1) - 1, 20), LONGEST_S)


def settled(breaker: Breaker, now_unix_ns: int) -> Breaker:
    """As it can be now: what lies further ahead is of a clock that was set back since."""
    return msgspec.structs.replace(
        breaker,
        troubles=tuple(
            msgspec.structs.replace(each, unix_ns=min(each.unix_ns, now_unix_ns))
            for each in breaker.troubles
        ),
        until_unix_ns=min(breaker.until_unix_ns, now_unix_ns + backoff_s(breaker.openings) * S),
        loaded_unix_ns=min(breaker.loaded_unix_ns, now_unix_ns),
    )


def loaded(breaker: Breaker, now_unix_ns: int) -> Breaker:
    """After a policy was put in charge."""
    if phase(breaker, now_unix_ns) != "half-open" or breaker.loaded_unix_ns:
        return breaker
    return msgspec.structs.replace(breaker, loaded_unix_ns=now_unix_ns)


def _recent(breaker: Breaker, now_unix_ns: int) -> tuple[Trouble, ...]:
    return tuple(each for each in breaker.troubles if now_unix_ns - each.unix_ns < WINDOW_S * S)
