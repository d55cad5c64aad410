"""What holds for the fleet as a whole: two records in the `fleet` bucket, changed by planners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import field

if TYPE_CHECKING:
    from collections.abc import Mapping

CLAIMS, ORDERS = "claims", "orders"
"""The records' keys."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """Which optimization works where. Its revision is a fencing token: it only grows."""

    hosts: dict[str, str] = field(default_factory=dict)
    """By host: the optimization that alone may change its scheduler."""
    canaries: list[str] = field(default_factory=list)
    """Optimizations that may try candidates now: each has one canary."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What operators have said."""

    frozen: bool = False
    """Nothing new begins anywhere; going back always works."""
    reason: str = ""
    drained: dict[str, str] = field(default_factory=dict)
    """Hosts that nothing new may begin on, with the reason."""
    retired: dict[str, str] = field(default_factory=dict)
    """Policies that nothing new is tried with, with the reason: `NAME`, or `NAME@VERSION`."""
    preferred: dict[str, str] = field(default_factory=dict)
    """Policies that are tried before their equals, likewise."""


def policy_key(policy: str, version: str = "") -> str:
    """What orders call a policy, or one version of it."""
    return f"{policy}@{version}" if version else policy


def said_of(said: Mapping[str, str], policy: str, version: str) -> str:
    """The reason of an order that holds for a policy in this version; empty if there is none."""
    return said.get(policy) or said.get(policy_key(policy, version), "")
