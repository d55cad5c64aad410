"""A finished span as plain data: what is encoded, stored, read back and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003 - the fields' types can be resolved
from enum import IntEnum
from typing import TypeAlias

import msgspec

Scalar: TypeAlias = "str | bool | int | float | bytes"
Value: TypeAlias = "Scalar | Sequence[Value] | Mapping[str, Value] | None"
"""What an attribute can hold, on the wire; our own spans hold scalars and lists of them."""
Attributes: TypeAlias = "dict[str, Value]"


class Kind(IntEnum):
    """Span kinds, with OTLP's numbers."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Status(IntEnum):
    """Span status, with OTLP's numbers."""

    UNSET = 0
    OK = 1
    ERROR = 2


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at one moment of a span."""

    name: str
    unix_ns: int
    attributes: Attributes = {}


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Another span that has to do with this one, but is not its parent."""

    trace_id: str
    span_id: str
    attributes: Attributes = {}


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One finished span. Ids are lower-case hex: 32 digits for a trace, 16 for a span."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    """Empty for a root."""
    name: str = ""
    kind: Kind = Kind.INTERNAL
    start_unix_ns: int = 0
    end_unix_ns: int = 0
    attributes: Attributes = {}
    events: tuple[EventRecord, ...] = ()
    links: tuple[LinkRecord, ...] = ()
    status: Status = Status.UNSET
    status_text: str = ""
    resource: Attributes = {}
    scope: str = ""
    dropped_attributes: int = 0
    """How many did not fit the span's limits."""
    dropped_events: int = 0

    @property
    def duration_ns(self) -> int:
        """Nanoseconds; 0 if the clock went backwards in between."""
        return max(0, self.end_unix_ns - self.start_unix_ns)
