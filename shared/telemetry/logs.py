"""Structured logs: dotted events with flat keys, on stderr.

`log.info("trial.round_measured", host=host, ratio=0.97)` is a line for a person on a terminal,
and JSON everywhere else, with the ids of the span that it happened in.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor


def configure_logging(service: str, *, json: bool, host: str = "") -> None:
    """Set up logging for this process, as JSON or for a person's eyes.

    Warnings of libraries that use `logging` come out in the same form.
    """
    bound = {"service": service, "host": host} if host else {"service": service}

    def add_bound(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {**event, **bound}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        add_bound,
        add_trace,
    ]
    render: list[Processor]
    if json:
        # A traceback as text: the structured form would print local variables, and secrets.
        render = [structlog.processors.format_exc_info, _ToJson()]
    else:
        render = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def add_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add the current span's ids, as a structlog processor."""
    span_context = get_current_span().get_span_context()
    if span_context.is_valid:
        event["trace_id"] = format_trace_id(span_context.trace_id)
        event["span_id"] = format_span_id(span_context.span_id)
    return event


class _ToJson:
    """Renders an event as one line of JSON; what JSON has no form for, as its text."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> str:
        first = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
        return self._encoder.encode({**first, **event}).decode()
