"""Making spans: checked names, and an honest status."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, get_args

from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace import Span as OtelSpan

from shared import attributes as names
from shared.errors import CoxswainError, InputError, RejectedError
from shared.telemetry.attempts import current_attempt
from shared.telemetry.context import format_traceparent, remote

if TYPE_CHECKING:
    from opentelemetry.context import Context

Given: TypeAlias = Mapping[str, str | bool | int | float | Sequence[str]]
"""What our own spans and events carry. Names come from `shared/attributes.py`."""

MAX_STACK_CHARS = 4000
_SPAN_NAMES = frozenset(get_args(names.SpanName))
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


class Span:
    """A span that is open: what the code inside may say about it."""

    __slots__ = ("_span",)

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return format_trace_id(self._span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """16 hex digits."""
        return format_span_id(self._span.get_span_context().span_id)

    @property
    def traceparent(self) -> str:
        """To be stored, and given to `context_of` when the trace goes on."""
        return format_traceparent(self._span.get_span_context())

    @property
    def context(self) -> Context:
        """To be given as `parent` or in `links` of other spans, also after this one has ended."""
        return remote(self._span.get_span_context())

    def set(self, attributes: Given) -> None:
        """Add attributes. Raises InputError for a name that is not in `shared/attributes.py`."""
        self._span.set_attributes(_checked(attributes))

    def event(self, name: str, attributes: Given | None = None) -> None:
        """Something happened now; `name` is dotted, like a log's. Raises InputError."""
        if not _EVENT_NAME.fullmatch(name):
            raise InputError(
                "not a name for a span's event",
                expected="lower-case words joined by dots, such as round.measured",
                got=repr(name),
                advice="Put what varies into attributes.",
            )
        self._span.add_event(name, _checked(attributes or {}))

    def fail(self, text: str, *, kind: str = "") -> None:
        """Mark the span as an error that was handled, such as a problem sent as an answer."""
        if kind:
            self._span.set_attribute(names.ERROR_TYPE, kind)
        self._span.set_status(Status(StatusCode.ERROR, text))


def event(name: str, attributes: Given | None = None) -> None:
    """Something happened now in the current span; nothing is recorded outside of every span."""
    Span(get_current_span()).event(name, attributes)


@contextmanager
def open_span(
    tracer: Tracer,
    name: names.SpanName,
    *,
    of: str,
    attributes: Given | None,
    parent: Context | None,
    links: Sequence[Context],
    kind: SpanKind,
    begun_unix_ns: int | None = None,
) -> Iterator[Span]:
    """See `Telemetry.span`."""
    if name not in _SPAN_NAMES:
        raise InputError(
            "unknown span name",
            expected="one of SpanName in shared/attributes.py",
            got=repr(name),
            advice="Use one that is there, or add it there.",
        )
    attempt = current_attempt.get()
    first = attempt is not None and attempt.own is None
    given = (get_current_span(context) for context in links)
    linked = [span.get_span_context() for span in given if span is not INVALID_SPAN]
    with tracer.start_as_current_span(
        f"{name} {of}" if of else name,
        context=parent,
        kind=kind,
        attributes=_checked(attributes or {}),
        links=[Link(each) for each in (*linked, *(attempt.earlier if attempt and first else ()))],
        # How a span ends is ours to say: a rejection is an outcome, not an error.
        record_exception=False,
        set_status_on_exception=False,
        start_time=begun_unix_ns,
    ) as span:
        if attempt is not None and first:
            attempt.own = span.get_span_context()
        try:
            yield Span(span)
        except RejectedError as error:
            span.set_attributes({names.OUTCOME: "rejected", names.PROBLEM_TEXT: str(error)})
            raise
        except Exception as error:
            _record(span, error)
            raise
        except BaseException:
            # Cancelled, interrupted or told to exit: nobody's fault.
            span.set_attribute(names.OUTCOME, "cancelled")
            raise


def _record(span: OtelSpan, error: Exception) -> None:
    kind = type(error).__name__
    recorded = {names.EXCEPTION_TYPE: kind, names.EXCEPTION_MESSAGE: str(error)}
    if not isinstance(error, CoxswainError):
        # The last lines name the culprit, so it is the beginning that is cut off.
        stack = "".join(traceback.format_exception(error))
        recorded[names.EXCEPTION_STACKTRACE] = stack[-MAX_STACK_CHARS:]
    span.add_event("exception", recorded)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, str(error) or kind))


def _checked(attributes: Given) -> Given:
    unknown = sorted(set(attributes) - names.ALL)
    if unknown:
        raise InputError(
            "unknown span attribute",
            expected="names from shared/attributes.py",
            got=", ".join(unknown),
            advice="Use one that is there, or add it there.",
        )
    return attributes
