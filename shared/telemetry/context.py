"""Trace context across walls: W3C tracecontext in message headers and in stored state.

Only `traceparent` is carried, in lower case, because NATS header keys are case-sensitive. One
that is malformed is ignored, as the recommendation asks for (www.w3.org/TR/trace-context).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRACEPARENT = "traceparent"
NEW_TRACE = Context()
"""As a span's parent: the span is the root of a trace of its own."""

_MAX_TRACEPARENT = 128
"""Characters. Version 00 has 55; later versions may append."""
_PROPAGATOR = TraceContextTextMapPropagator()


def inject(context: Context | None = None) -> dict[str, str]:
    """The headers that carry `context`, or the current one; empty outside of every span."""
    headers: dict[str, str] = {}
    span_context = get_current_span(context).get_span_context()
    if span_context.is_valid:
        headers[TRACEPARENT] = format_traceparent(span_context)
    return headers


def extract(headers: Mapping[str, str] | None) -> Context:
    """The context that headers carry; an empty one if they carry none that is well-formed."""
    value = headers.get(TRACEPARENT) if headers else None
    if not isinstance(value, str) or len(value) > _MAX_TRACEPARENT:
        return Context()
    return _PROPAGATOR.extract({TRACEPARENT: value}, context=Context())


def context_of(traceparent: str) -> Context:
    """The context of a stored traceparent, to go on with a trace after hours or a crash."""
    return extract({TRACEPARENT: traceparent})


def root_context(trace_id: str, span_id: str) -> Context:
    """The context of a span known by its hex ids; an empty one if they are not valid ids."""
    return context_of(f"00-{trace_id}-{span_id}-01")


def trace_id_of(context: Context) -> str:
    """A context's trace id in hex; empty if it carries none."""
    span_context = get_current_span(context).get_span_context()
    return format_trace_id(span_context.trace_id) if span_context.is_valid else ""


def format_traceparent(span_context: SpanContext) -> str:
    """A span's traceparent, always marked as sampled: we keep every span."""
    trace_id = format_trace_id(span_context.trace_id)
    span_id = format_span_id(span_context.span_id)
    return f"00-{trace_id}-{span_id}-{TraceFlags.SAMPLED:02x}"


@contextmanager
def attached(context: Context) -> Iterator[None]:
    """Make a context the current one, so that logs and spans inside belong to its trace."""
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def remote(span_context: SpanContext) -> Context:
    """A context in which this span is the parent, known only by its ids."""
    return set_span_in_context(NonRecordingSpan(span_context), Context())
