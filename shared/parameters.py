"""What of a policy can be set from outside: a name, a unit, bounds and a default."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

_MOST: Final = (1 << 63) - 1

Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Value = Annotated[int, Meta(ge=-_MOST, le=_MOST)]


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `const volatile` integer of the hooks: what it does, its unit, bounds and default."""

    name: str
    summary: Text
    unit: Literal["ns", "percent", "pages", "bytes", "count"]
    low: Value
    high: Value
    default: Value
    scale: Literal["linear", "log"] = "linear"
    """How a search should step through it."""
