"""From the SDK's finished span to plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from opentelemetry.trace import format_span_id, format_trace_id

from shared.telemetry.records import Attributes, EventRecord, Kind, LinkRecord, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan


def to_record(span: ReadableSpan) -> SpanRecord:
    """A finished span of the SDK as plain data."""
    return SpanRecord(
        trace_id=format_trace_id(span.context.trace_id),
        span_id=format_span_id(span.context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent is not None else "",
        name=span.name,
        # The API numbers kinds from 0, the protocol from 1.
        kind=Kind(span.kind.value + 1),
        start_unix_ns=span.start_time or 0,
        end_unix_ns=span.end_time or 0,
        attributes=_plain(span.attributes),
        events=tuple(
            EventRecord(
                name=event.name, unix_ns=event.timestamp, attributes=_plain(event.attributes)
            )
            for event in span.events
        ),
        links=tuple(
            LinkRecord(
                trace_id=format_trace_id(link.context.trace_id),
                span_id=format_span_id(link.context.span_id),
                attributes=_plain(link.attributes),
            )
            for link in span.links
        ),
        status=Status(span.status.status_code.value),
        status_text=span.status.description or "",
        resource=_plain(span.resource.attributes),
        scope=span.instrumentation_scope.name if span.instrumentation_scope is not None else "",
        dropped_attributes=span.dropped_attributes,
        dropped_events=span.dropped_events,
    )


def _plain(attributes: Mapping[str, object] | None) -> Attributes:
    return cast("Attributes", dict(attributes)) if attributes else {}
