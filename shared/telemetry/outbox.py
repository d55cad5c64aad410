"""Finished spans onto the bus: batched by trace, bounded, and never in the way.

A span that ends is put into a queue; one task of the event loop takes them out, encodes them as
OTLP JSON and publishes them. There is no thread: a guest that is being measured has none to
spare. When the bus is away the queue fills up to its bound and what comes after is dropped and
counted; the earliest spans are kept, for among them is the root that all others hang on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import format_trace_id

from shared.errors import BusError
from shared.telemetry import otlp_json
from shared.telemetry.convert import to_record

Publish: TypeAlias = Callable[[str, bytes], Awaitable[object]]
"""Sends bytes to a subject, and returns when they are kept."""

CAPACITY = 4096
"""Spans that wait for the bus: hours of an optimization, and a few MiB."""
BATCH = 64
"""Spans encoded in one go: keeps the loop's pause short where the CPU is emulated."""
MAX_PAYLOAD_BYTES = 512 * 1024
"""Half of what a NATS server takes by default."""
_GATHER_S = 0.2
_PUBLISH_DEADLINE_S = 5.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0

log = structlog.get_logger(__name__)


class SpanOutbox(SpanProcessor):
    """Publishes every finished span of a provider. Made and run inside an event loop."""

    def __init__(self, publish: Publish, subject: Callable[[str], str]) -> None:
        """`subject` says where spans of a trace id go."""
        self._publish = publish
        self._subject = subject
        self._queue: deque[ReadableSpan] = deque()
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self.published = 0
        """Spans that the bus has taken."""
        self.dropped = 0
        """Spans lost: the queue was full, one was too large, or the deadline of `close` came."""

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended, in whatever thread."""
        with self._lock:
            if self._closed or len(self._queue) + self._in_flight >= CAPACITY:
                self.dropped += 1
                return
            self._queue.append(span)
        # The loop may be gone at interpreter exit; the span is then never published.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Publish until `close` is called and the queue is empty."""
        pause_s = _FIRST_PAUSE_S
        lost_bus = False
        while not (self._closing.is_set() and not self._queue):
            await self._wake.wait()
            await self._pause(_GATHER_S)
            self._wake.clear()
            while self._queue:
                problem = await self._send_batch()
                if problem is None:
                    if lost_bus:
                        log.info("telemetry.bus_is_back", waiting=len(self._queue))
                    pause_s, lost_bus = _FIRST_PAUSE_S, False
                    continue
                if not lost_bus:
                    log.warning("telemetry.bus_is_away", problem=problem)
                    lost_bus = True
                if self._closing.is_set():
                    await asyncio.sleep(_GATHER_S)
                else:
                    await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def close(self) -> None:
        """No more spans are taken; `run` ends when those that wait are published."""
        with self._lock:
            self._closed = True
        self._closing.set()
        self._wake.set()

    def abandon(self) -> int:
        """Count what still waits as dropped, and say how many."""
        with self._lock:
            waiting = len(self._queue) + self._in_flight
            self._queue.clear()
            self._in_flight = 0
            self.dropped += waiting
        return waiting

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _send_batch(self) -> str | None:
        """Publish some spans; what the bus did not take goes back, and the reason is returned."""
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._in_flight = len(batch)
        by_trace: dict[str, list[ReadableSpan]] = {}
        for span in batch:
            by_trace.setdefault(format_trace_id(span.context.trace_id), []).append(span)
        problem: str | None = None
        unsent: list[ReadableSpan] = []
        for trace_id, spans in by_trace.items():
            if problem is None:
                problem = await self._send(spans, trace_id)
            if problem is not None:
                unsent += spans
        with self._lock:
            self._queue.extendleft(reversed(unsent))
            self._in_flight = 0
        return problem

    async def _send(self, spans: list[ReadableSpan], trace_id: str) -> str | None:
        try:
            payload = otlp_json.encode(to_record(span) for span in spans)
            if len(payload) > MAX_PAYLOAD_BYTES:
                return await self._send_halves(spans, trace_id, len(payload))
            async with asyncio.timeout(_PUBLISH_DEADLINE_S):
                await self._publish(self._subject(trace_id), payload)
        except (BusError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__
        except Exception as error:  # noqa: BLE001 - telemetry must not end the service it watches
            self._drop(len(spans), repr(error))
            return None
        with self._lock:
            self._in_flight -= len(spans)
        self.published += len(spans)
        return None

    async def _send_halves(
        self, spans: list[ReadableSpan], trace_id: str, size_bytes: int
    ) -> str | None:
        if len(spans) == 1:
            self._drop(1, f"a span of {size_bytes} bytes, of at most {MAX_PAYLOAD_BYTES}")
            return None
        # If only the second half fails both are sent again: readers remove duplicates.
        half = len(spans) // 2
        problem = await self._send(spans[:half], trace_id)
        return problem or await self._send(spans[half:], trace_id)

    def _drop(self, count: int, problem: str) -> None:
        with self._lock:
            self._in_flight -= count
            self.dropped += count
        log.warning("telemetry.spans_dropped", count=count, problem=problem)
