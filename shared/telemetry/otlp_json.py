"""Spans to and from OTLP JSON, without protobuf.

The encoding is the one of the OpenTelemetry protocol (opentelemetry.io/docs/specs/otlp,
"JSON Protobuf Encoding"): keys in lowerCamelCase, enums as integers, 64-bit integers as decimal
strings, trace and span ids as hex, other bytes as base64. Unknown fields are ignored.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping

import msgspec

from shared.errors import MessageError
from shared.telemetry.records import (
    Attributes,
    EventRecord,
    Kind,
    LinkRecord,
    SpanRecord,
    Status,
    Value,
)


class _Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Base of what is on the wire: a missing field has protobuf's default."""


class _AnyValue(_Wire, frozen=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: str | int | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: _ArrayValue | None = None
    kvlist_value: _KeyValueList | None = None


class _ArrayValue(_Wire, frozen=True):
    values: list[_AnyValue] = []


class _KeyValue(_Wire, frozen=True):
    key: str = ""
    value: _AnyValue | None = None


class _KeyValueList(_Wire, frozen=True):
    values: list[_KeyValue] = []


class _Event(_Wire, frozen=True):
    time_unix_nano: str | int = "0"
    name: str = ""
    attributes: list[_KeyValue] = []


class _Link(_Wire, frozen=True):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[_KeyValue] = []


class _Status(_Wire, frozen=True):
    message: str = ""
    code: int = 0


class _Span(_Wire, frozen=True):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: str | int = "0"
    end_time_unix_nano: str | int = "0"
    attributes: list[_KeyValue] = []
    dropped_attributes_count: int = 0
    events: list[_Event] = []
    dropped_events_count: int = 0
    links: list[_Link] = []
    status: _Status = _Status()


class _Scope(_Wire, frozen=True):
    name: str = ""


class _ScopeSpans(_Wire, frozen=True):
    scope: _Scope = _Scope()
    spans: list[_Span] = []


class _Resource(_Wire, frozen=True):
    attributes: list[_KeyValue] = []


class _ResourceSpans(_Wire, frozen=True):
    resource: _Resource = _Resource()
    scope_spans: list[_ScopeSpans] = []


class _TracesData(_Wire, frozen=True):
    resource_spans: list[_ResourceSpans]


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_TracesData)
_TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SPAN_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MIN_INT64, _MAX_INT64, _MAX_FIXED64 = -(2**63), 2**63 - 1, 2**64 - 1


def encode(spans: Iterable[SpanRecord]) -> bytes:
    """Spans as one OTLP JSON document, grouped by resource and scope in order of appearance."""
    resources: dict[bytes, _ResourceSpans] = {}
    scopes: dict[tuple[bytes, str], _ScopeSpans] = {}
    for span in spans:
        key = _ENCODER.encode(_to_attributes(span.resource))
        if key not in resources:
            resources[key] = _ResourceSpans(
                resource=_Resource(attributes=_to_attributes(span.resource)), scope_spans=[]
            )
        if (key, span.scope) not in scopes:
            group = _ScopeSpans(scope=_Scope(name=span.scope), spans=[])
            scopes[key, span.scope] = group
            resources[key].scope_spans.append(group)
        scopes[key, span.scope].spans.append(_to_span(span))
    return _ENCODER.encode(_TracesData(resource_spans=list(resources.values())))


def decode(data: bytes) -> list[SpanRecord]:
    """The spans of an OTLP JSON document, in its order. Raises MessageError."""
    try:
        document = _DECODER.decode(data)
        return [
            _from_span(span, _from_attributes(group.resource.attributes), scoped.scope.name)
            for group in document.resource_spans
            for scoped in group.scope_spans
            for span in scoped.spans
        ]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MessageError(
            "not a trace",
            expected='OTLP JSON: {"resourceSpans": […]}',
            got=str(error),
            advice="Give a file that `cox optimize --report` or an OTLP exporter wrote.",
        ) from error


# --- To the wire -------------------------------------------------------------------------------


def _to_span(span: SpanRecord) -> _Span:
    return _Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        name=_text(span.name),
        kind=int(span.kind),
        start_time_unix_nano=str(span.start_unix_ns),
        end_time_unix_nano=str(span.end_unix_ns),
        attributes=_to_attributes(span.attributes),
        dropped_attributes_count=span.dropped_attributes,
        events=[
            _Event(
                time_unix_nano=str(event.unix_ns),
                name=_text(event.name),
                attributes=_to_attributes(event.attributes),
            )
            for event in span.events
        ],
        dropped_events_count=span.dropped_events,
        links=[
            _Link(
                trace_id=link.trace_id,
                span_id=link.span_id,
                attributes=_to_attributes(link.attributes),
            )
            for link in span.links
        ],
        status=_Status(message=_text(span.status_text), code=int(span.status)),
    )


def _to_attributes(attributes: Mapping[str, Value]) -> list[_KeyValue]:
    return [_KeyValue(key=_text(key), value=_to_value(value)) for key, value in attributes.items()]


def _to_value(value: Value) -> _AnyValue:
    match value:
        case None:
            return _AnyValue()
        case str():
            return _AnyValue(string_value=_text(value))
        case bool():
            return _AnyValue(bool_value=value)
        case int():
            # A number that protobuf cannot hold is better as text than not at all.
            fits = _MIN_INT64 <= value <= _MAX_INT64
            return _AnyValue(int_value=str(value)) if fits else _AnyValue(string_value=str(value))
        case float():
            return _AnyValue(double_value=_to_double(value))
        case bytes():
            return _AnyValue(bytes_value=base64.b64encode(value).decode())
        case Mapping():
            return _AnyValue(kvlist_value=_KeyValueList(values=_to_attributes(value)))
        case _:
            return _AnyValue(array_value=_ArrayValue(values=[_to_value(item) for item in value]))


def _text(value: str) -> str:
    """Without lone surrogates, which a workload's undecodable output brings and JSON refuses."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _to_double(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


# --- From the wire -----------------------------------------------------------------------------


def _from_span(span: _Span, resource: Attributes, scope: str) -> SpanRecord:
    return SpanRecord(
        trace_id=_id(span.trace_id, _TRACE_ID),
        span_id=_id(span.span_id, _SPAN_ID),
        parent_id=_id(span.parent_span_id, _SPAN_ID) if span.parent_span_id else "",
        name=span.name,
        kind=Kind(span.kind),
        start_unix_ns=_time(span.start_time_unix_nano),
        end_unix_ns=_time(span.end_time_unix_nano),
        attributes=_from_attributes(span.attributes),
        events=tuple(
            EventRecord(
                name=event.name,
                unix_ns=_time(event.time_unix_nano),
                attributes=_from_attributes(event.attributes),
            )
            for event in span.events
        ),
        links=tuple(
            LinkRecord(
                trace_id=_id(link.trace_id, _TRACE_ID),
                span_id=_id(link.span_id, _SPAN_ID),
                attributes=_from_attributes(link.attributes),
            )
            for link in span.links
        ),
        status=Status(span.status.code),
        status_text=span.status.message,
        resource=resource,
        scope=scope,
        dropped_attributes=span.dropped_attributes_count,
        dropped_events=span.dropped_events_count,
    )


def _from_attributes(attributes: list[_KeyValue]) -> Attributes:
    return {pair.key: _from_value(pair.value) for pair in attributes}


def _from_value(value: _AnyValue | None) -> Value:
    if value is None:
        return None
    if value.string_value is not None:
        return value.string_value
    if value.bool_value is not None:
        return value.bool_value
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.double_value is not None:
        return _from_double(value.double_value)
    if value.bytes_value is not None:
        return _bytes(value.bytes_value)
    if value.array_value is not None:
        return [_from_value(item) for item in value.array_value.values]
    if value.kvlist_value is not None:
        return _from_attributes(value.kvlist_value.values)
    return None


def _from_double(value: float | str) -> float:
    if isinstance(value, str):
        return _NOT_FINITE[value] if value in _NOT_FINITE else float(value)
    return float(value)


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"bytes that are not base64: {value[:40]!r}") from error


def _integer(value: str | int) -> int:
    if isinstance(value, int):
        return value
    if not _INTEGER.fullmatch(value):
        raise ValueError(f"not a 64-bit integer: {value[:40]!r}")
    return int(value)


def _time(value: str | int) -> int:
    time_unix_ns = _integer(value)
    if not 0 <= time_unix_ns <= _MAX_FIXED64:
        raise ValueError(f"a time outside of 64 bits: {time_unix_ns}")
    return time_unix_ns


def _id(value: str, pattern: re.Pattern[str]) -> str:
    lower = value.lower()
    if not pattern.fullmatch(lower) or not lower.strip("0"):
        raise ValueError(f"not an id: {value[:40]!r}")
    return lower
