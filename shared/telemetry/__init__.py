"""Logs and traces: how Coxswain says what it does and why.

    configure_logging("planner")
    async with start_telemetry("planner", publish=bus.publish_span) as telemetry:
        with telemetry.span("plan", attributes={names.OPTIMIZATION_ID: id}) as span:
            span.set({names.DECISION_WHY: why})

One optimization is one trace with one root: a short span `optimize {workload}`, made with
`parent=NEW_TRACE` when the request is accepted. Its `traceparent` is stored with the optimization
and rides in message headers (`inject`, `extract`), so that every later span of every service
hangs on it, over hours and across crashes (`context_of`).

Reading a trace back is `shared.telemetry.store`.
"""

from shared.telemetry.context import (
    NEW_TRACE,
    TRACEPARENT,
    attached,
    context_of,
    extract,
    inject,
    root_context,
    trace_id_of,
)
from shared.telemetry.logs import configure_logging
from shared.telemetry.outbox import Publish
from shared.telemetry.spans import Given, Span, event
from shared.telemetry.tracing import Telemetry, start_telemetry

__all__ = [
    "NEW_TRACE",
    "TRACEPARENT",
    "Given",
    "Publish",
    "Span",
    "Telemetry",
    "attached",
    "configure_logging",
    "context_of",
    "event",
    "extract",
    "inject",
    "root_context",
    "start_telemetry",
    "trace_id_of",
]
