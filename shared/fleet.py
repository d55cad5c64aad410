"""What holds for the fleet as a whole: two records in the `fleet` bucket, changed by planners."""

from __future__ import annotations

import msgspec
from msgspec import field

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
