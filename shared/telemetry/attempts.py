"""Retries are links: work that is done once more points to the spans of its earlier attempts.

An attempt that was killed has no span to point to: a span is told of when it ends. That there was
one is seen by the `coxswain.message.deliveries` of the next.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import SpanContext

REMEMBERED = 256
"""Pieces of work whose earlier attempts are known; more than fail at once anywhere."""


class Attempt:
    """One try at a piece of work: the spans of those before it, and its own once it has one."""

    def __init__(self, earlier: list[SpanContext]) -> None:
        self.earlier = earlier
        self.own: SpanContext | None = None


current_attempt: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)
"""What the code that runs is an attempt at; its outermost span is linked to those before."""


class Attempts:
    """What is known of pieces of work that have failed here, by their number in a stream."""

    def __init__(self) -> None:
        self._failed: OrderedDict[int, list[SpanContext]] = OrderedDict()

    @contextmanager
    def attempt(self, number: int) -> Iterator[None]:
        """Around a try. One that raises is remembered for the next."""
        attempt = Attempt(self._failed.pop(number, []))
        token = current_attempt.set(attempt)
        try:
            yield
        except BaseException:
            spans = [*attempt.earlier, *([attempt.own] if attempt.own is not None else [])]
            if spans:
                self._failed[number] = spans
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)
            raise
        finally:
            current_attempt.reset(token)
