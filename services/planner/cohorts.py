"""Which host gets a promoted candidate when, and which does not: the same answer every time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.messages import Rollout


class Assignment(NamedTuple):
    """The hosts after the canary: in steps, none of them empty, and those held out."""

    cohorts: list[list[str]]
    control: list[str]


def assign(optimization: str, hosts: Sequence[str], canary: str, rollout: Rollout) -> Assignment:
    """Draw control and cohorts by lot; the lots are hashes, so nobody has to remember them.

    The control is `control_percent` of all hosts, rounded down: a small fleet has none. A step's
    share is of the hosts that are neither canary nor control, rounded up: the first step has a
    host at least, the last one has the rest.
    """
    drawn = sorted(
        (host for host in hosts if host != canary),
        key=lambda host: hashlib.sha256(f"{optimization}/{host}".encode()).digest(),
    )
    held_out = len(hosts) * rollout.control_percent // 100
    control, treated = drawn[:held_out], drawn[held_out:]
    cohorts = []
    begun = 0
    for percent in rollout.cohorts:
        end = -(-len(treated) * percent // 100)
        if end > begun:
            cohorts.append(treated[begun:end])
            begun = end
    return Assignment(cohorts, sorted(control))
