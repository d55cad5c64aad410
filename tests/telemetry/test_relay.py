"""Spans that were published on a real bus, handed to a collector over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from shared.bus import Bus
from shared.errors import InputError
from shared.telemetry import NEW_TRACE, start_telemetry
from shared.telemetry.relay import Collector, hand_on, headers, join
from tests.telemetry.otlp import ids_as_base64

CHECKOUT = Path(__file__).resolve().parents[2]


class Receiver(ThreadingHTTPServer):
    """Takes OTLP JSON as the protocol's own definition has it, or answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.asked = threading.Event()
        self.headers: dict[str, str] = {}
        self.names: set[str] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    async def has(self, *names: str) -> None:
        async with asyncio.timeout(30):
            while not self.names >= set(names):  # noqa: ASYNC110 - another thread's set
                await asyncio.sleep(0.02)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        assert self.path == "/v1/traces"
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = ExportTraceServiceRequest()
        json_format.ParseDict(ids_as_base64(document), request, ignore_unknown_fields=False)
        receiver.headers = dict(self.headers)
        status = receiver.status
        if status == 200:
            receiver.names |= {
                span.name
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            }
        receiver.asked.set()
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@asynccontextmanager
async def relaying(bus: Bus, receiver: Receiver) -> AsyncIterator[None]:
    task = asyncio.create_task(hand_on(bus, Collector(receiver.endpoint, {})))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def logged(logs: Sequence[Mapping[str, object]], event: str) -> None:
    async with asyncio.timeout(30):
        while not any(line["event"] == event for line in logs):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def spans(bus: Bus, *names: str) -> None:
    """Publish a trace as a service does: a root, and what hangs on it."""
    async with start_telemetry(
        "planner", publish=bus.publish_bytes, subjects=bus.subjects
    ) as telemetry:
        with telemetry.span("optimize", parent=NEW_TRACE):
            for name in names:
                with telemetry.span("plan", of=name):
                    pass


async def test_every_services_spans_reach_the_collector(bus: Bus, receiver: Receiver) -> None:
    async with relaying(bus, receiver):
        await spans(bus, "a", "b")
        await receiver.has("optimize", "plan a", "plan b")
    assert receiver.headers["Content-Type"] == "application/json"


async def test_with_the_collector_away_spans_wait(bus: Bus, receiver: Receiver) -> None:
    receiver.status = 503
    with capture_logs() as logs:
        async with relaying(bus, receiver):
            await spans(bus, "early")
            assert await asyncio.to_thread(receiver.asked.wait, 30)
            assert receiver.names == set()
            receiver.status = 200
            await spans(bus, "late")
            await receiver.has("plan early", "plan late")
            await logged(logs, "relay.collector_is_back")
    assert [line["event"] for line in logs].count("relay.collector_is_away") == 1


async def test_what_a_collector_refuses_does_not_hold_up_the_rest(
    bus: Bus, receiver: Receiver
) -> None:
    receiver.status = 400
    with capture_logs() as logs:
        async with relaying(bus, receiver):
            await spans(bus, "refused")
            await logged(logs, "relay.refused")
            receiver.status = 200
            await spans(bus, "taken")
            await receiver.has("plan taken")


async def test_the_process_does_it(bus: Bus, nats_url: str, receiver: Receiver) -> None:
    await spans(bus, "early")
    environment = {
        **os.environ,
        "COX_NATS_URL": nats_url,
        "COX_NAMESPACE": bus.subjects.namespace,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-who=coxswain%20relay",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shared.telemetry.relay", env=environment, cwd=CHECKOUT
    )
    try:
        await receiver.has("plan early")
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert receiver.headers["X-Who"] == "coxswain relay"


def test_what_is_no_document_is_left_out_and_named() -> None:
    good = b'{"resourceSpans":[{"scopeSpans":[]}]}'
    document, broken = join([good, b"{", good])
    assert len(json.loads(document)["resourceSpans"]) == 2
    assert len(broken) == 1


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://x", "http://", "collector"])
def test_a_bad_endpoint_says_what_a_good_one_is(endpoint: str) -> None:
    with pytest.raises(InputError, match="http://localhost:4318"):
        Collector(endpoint, {})


@pytest.mark.parametrize("endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"])
def test_an_endpoint_may_be_written_in_three_ways(endpoint: str) -> None:
    assert Collector(endpoint, {}).url == "http://c:4318/v1/traces"


def test_headers_are_pairs() -> None:
    assert headers({"OTEL_EXPORTER_OTLP_HEADERS": "a=1, b=x%3Dy"}) == {"a": "1", "b": "x=y"}
    with pytest.raises(InputError, match="name=value"):
        headers({"OTEL_EXPORTER_OTLP_HEADERS": "secret"})
