"""Spans from the bus to an OpenTelemetry collector: `python -m shared.telemetry.relay`.

Every service, the ones on hosts too, publishes its spans on the bus and knows no collector. This
one process takes them from their stream, which is the bounded queue, and hands them on as OTLP JSON
over HTTP. With the collector away they wait in the stream, for as long as it keeps them; nothing
else notices. A span may arrive twice, as OTLP allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from shared.bus.away import AWAY
from shared.errors import InputError
from shared.service import main

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from nats.aio.msg import Msg

    from shared.bus import Bus
    from shared.settings import Settings
    from shared.telemetry.tracing import Telemetry

BATCH = 64
"""Payloads in one request: a MiB or so."""
_FETCH_S = 5.0
_DEADLINE_S = 10.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TRY_AGAIN = {408, 429, 502, 503, 504}
"""What OTLP/HTTP's specification calls retryable, and a timeout."""

log = structlog.get_logger(__name__)


class Collector:
    """Where the spans go. Raises InputError for what is no URL."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(
                "not an OTLP endpoint",
                expected="a URL such as http://localhost:4318",
                got=repr(endpoint),
                advice="Correct OTEL_EXPORTER_OTLP_ENDPOINT, or unset it.",
            )
        base = endpoint.rstrip("/")
        self.url = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
        self._headers = {**headers, "Content-Type": "application/json"}

    async def take(self, document: bytes) -> str:
        """Hand a document over; empty if it was taken, or why not.

        Raises OSError if it should be tried again.
        """
        return await asyncio.to_thread(self._post, document)

    def _post(self, document: bytes) -> str:
        request = urllib.request.Request(self.url, document, self._headers, method="POST")  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=_DEADLINE_S) as answer:  # noqa: S310
                answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in _TRY_AGAIN:
                    raise
                return f"{error.code} {error.reason}"
        return ""


class _Document(msgspec.Struct, rename="camel"):
    """As much of OTLP JSON as joining two of them needs."""

    resource_spans: list[msgspec.Raw]


def join(payloads: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """One document of several, and what is wrong with those that are none."""
    spans: list[msgspec.Raw] = []
    broken: list[str] = []
    for payload in payloads:
        try:
            spans += msgspec.json.decode(payload, type=_Document).resource_spans
        except msgspec.DecodeError as error:
            broken.append(str(error))
    return msgspec.json.encode(_Document(spans)), broken


async def hand_on(bus: Bus, collector: Collector) -> None:
    """Take spans from their stream and give them to the collector, for ever."""
    pause_s = _FIRST_PAUSE_S
    away = False
    consumer, stream = bus.subjects.consumer("relay", "spans"), bus.subjects.stream("SPANS")
    bus.depend(stream, consumer)
    subscription = await bus.js.pull_subscribe_bind(consumer, stream)
    while True:
        try:
            messages = await subscription.fetch(BATCH, timeout=_FETCH_S)
        except TimeoutError:
            continue
        except AWAY as error:
            log.warning("relay.fetch_failed", error=repr(error))
            await asyncio.sleep(1.0)
            continue
        document, broken = join([message.data for message in messages])
        for problem in broken:
            log.warning("relay.no_span", problem=problem)
        try:
            refused = await collector.take(document)
        except OSError as error:
            if not away:
                log.warning("relay.collector_is_away", url=collector.url, problem=str(error))
            away = True
            await _each(messages, again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            continue
        if refused:
            log.error("relay.refused", url=collector.url, problem=refused, payloads=len(messages))
        if away:
            log.info("relay.collector_is_back", url=collector.url)
        away, pause_s = False, _FIRST_PAUSE_S
        await _each(messages)


async def _each(messages: Sequence[Msg], again_in_s: float | None = None) -> None:
    """Acknowledge them, or have them again later."""
    for message in messages:
        with contextlib.suppress(*AWAY):
            if again_in_s is None:
                await message.ack()
            else:
                await message.nak(delay=again_in_s)


def headers(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """OTEL_EXPORTER_OTLP_HEADERS: `name=value` pairs, as a collector's owner gives them out."""
    pairs = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")
    found = {}
    for pair in filter(None, map(str.strip, pairs)):
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(
                "OTEL_EXPORTER_OTLP_HEADERS is not valid",
                expected="name=value, separated by commas",
                got="a part without '='",
            )
        found[unquote(name.strip())] = unquote(value.strip())
    return found


@contextlib.asynccontextmanager
async def relay(settings: Settings, bus: Bus, _telemetry: Telemetry) -> AsyncIterator[None]:
    """Hand spans on while the context is open. Raises InputError without an endpoint."""
    if not settings.otlp_endpoint:
        raise InputError(
            "no collector to hand spans to",
            expected="OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318",
            got="nothing",
        )
    task = asyncio.create_task(hand_on(bus, Collector(settings.otlp_endpoint, headers())))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main("relay", relay, of_host=False))
