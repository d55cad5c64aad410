"""One `Telemetry` a process: where spans are made, and where they go."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from typing import TYPE_CHECKING, Self

import structlog
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from shared import attributes as names
from shared.errors import MachineError
from shared.metrics import Metrics
from shared.subjects import Subjects
from shared.telemetry.outbox import Publish, SpanOutbox
from shared.telemetry.spans import Given, Span, open_span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from opentelemetry.context import Context

    from shared.subjects import Service

SCOPE = "coxswain"
FLUSH_DEADLINE_S = 3.0
_LIMITS = SpanLimits(
    max_span_attributes=64,
    max_event_attributes=32,
    max_link_attributes=16,
    max_events=256,
    max_links=600,
    max_attribute_length=8192,
)
"""What keeps one span small enough for a message, whatever a model or a workload wrote. A
cohort has a link for each of its hosts, and an optimization 600 hosts at the most."""

log = structlog.get_logger(__name__)


class Telemetry:
    """Makes spans and sends them away. Nothing here is global: give it to who needs it.

    Use it as an asynchronous context manager, or call `shutdown`.
    """

    def __init__(self, resource: Resource, *, outbox: SpanOutbox | None) -> None:
        # Every span is kept whatever a caller's traceparent says of sampling.
        self.provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, span_limits=_LIMITS, shutdown_on_exit=False
        )
        self.metrics = Metrics()
        """What services count; a process puts its own here."""
        self._tracer = self.provider.get_tracer(SCOPE)
        self._outbox = outbox
        self._sender: asyncio.Task[None] | None = None
        if outbox is not None:
            self.provider.add_span_processor(outbox)
            # An empty context: what the sender does belongs to no trace.
            self._sender = asyncio.get_running_loop().create_task(
                outbox.run(), name="span-outbox", context=contextvars.Context()
            )

    @property
    def published(self) -> int:
        """Spans that the bus has taken."""
        return self._outbox.published if self._outbox is not None else 0

    @property
    def dropped(self) -> int:
        """Spans that the bus will never see."""
        return self._outbox.dropped if self._outbox is not None else 0

    def span(
        self,
        name: names.SpanName,
        *,
        of: str = "",
        attributes: Given | None = None,
        parent: Context | None = None,
        links: Sequence[Context] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        begun_unix_ns: int | None = None,
    ) -> AbstractContextManager[Span]:
        """A span around a block, named `{name} {of}`; inside it is the current one.

        `parent` is a context from `extract`, `context_of` or `Span.context`, or `NEW_TRACE`; none
        given means the current span. `begun_unix_ns` is for what began before anybody could open
        a span for it. An exception passes through and makes the span an error,
        but for a RejectedError, which is an outcome, and a cancellation, which is nobody's fault.
        Raises InputError for names that `shared/attributes.py` does not have.
        """
        return open_span(
            self._tracer,
            name,
            of=of,
            attributes=attributes,
            parent=parent,
            links=links,
            kind=kind,
            begun_unix_ns=begun_unix_ns,
        )

    async def shutdown(self, deadline_s: float = FLUSH_DEADLINE_S) -> None:
        """Send what waits, for at most so long. Call it before the bus is closed."""
        sender, self._sender = self._sender, None
        if self._outbox is not None and sender is not None:
            await _finish(self._outbox, sender, deadline_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()


def start_telemetry(
    service: Service,
    host: str = "",
    *,
    publish: Publish | None,
    subjects: Subjects | None = None,
    instance: str = "",
) -> Telemetry:
    """Telemetry for this process. With `publish` it must be called inside the event loop.

    `publish` is the bus's; finished spans go to `subjects.span(service, trace id)` as OTLP JSON.
    Without it they go nowhere. To a collector they come from there (shared/telemetry/relay.py).
    Raises MachineError where OpenTelemetry is switched off.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        raise MachineError(
            "OpenTelemetry is switched off",
            expected="OTEL_SDK_DISABLED not set: the trace is how an optimization explains itself",
            got="OTEL_SDK_DISABLED=true",
            advice="Unset it. Nothing leaves the bus unless an OTLP endpoint is set.",
        )
    known = {
        names.SERVICE_NAME: service,
        names.SERVICE_NAMESPACE: SCOPE,
        names.SERVICE_INSTANCE_ID: instance,
        names.HOST_NAME: host,
    }
    # Not Resource.create: it looks through every installed package for detectors.
    resource = (
        OTELResourceDetector()
        .detect()
        .merge(Resource({name: value for name, value in known.items() if value}))
    )
    where = subjects or Subjects()
    outbox = None
    if publish is not None:
        outbox = SpanOutbox(publish, lambda trace_id: where.span(service, trace_id))
    return Telemetry(resource, outbox=outbox)


async def _finish(outbox: SpanOutbox, sender: asyncio.Task[None], deadline_s: float) -> None:
    outbox.close()
    try:
        async with asyncio.timeout(deadline_s):
            await sender
    except TimeoutError:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
    lost = outbox.abandon()
    if lost:
        log.warning("telemetry.spans_dropped", count=lost, problem="the bus did not take them")
