from __future__ import annotations

import json
import math

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from shared.errors import MessageError
from shared.telemetry import otlp_json
from shared.telemetry.records import EventRecord, Kind, LinkRecord, SpanRecord, Status
from tests.telemetry.otlp import ids_as_base64

TEXT = st.text(max_size=20)
TIMES = st.integers(0, 2**64 - 1)
COUNTS = st.integers(0, 2**32 - 1)
SCALARS = (
    TEXT
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=8)
    | st.none()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=3)
TRACE_IDS = st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}")
SPAN_IDS = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
EVENTS = st.builds(EventRecord, name=TEXT, unix_ns=TIMES, attributes=ATTRIBUTES)
LINKS = st.builds(LinkRecord, trace_id=TRACE_IDS, span_id=SPAN_IDS, attributes=ATTRIBUTES)
SPANS = st.builds(
    SpanRecord,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    parent_id=SPAN_IDS | st.just(""),
    name=TEXT,
    kind=st.sampled_from(Kind),
    start_unix_ns=TIMES,
    end_unix_ns=TIMES,
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=2).map(tuple),
    links=st.lists(LINKS, max_size=2).map(tuple),
    status=st.sampled_from(Status),
    status_text=TEXT,
    resource=ATTRIBUTES,
    scope=TEXT,
    dropped_attributes=COUNTS,
    dropped_events=COUNTS,
)


def by_id(spans: list[SpanRecord]) -> list[SpanRecord]:
    return sorted(spans, key=lambda span: (span.trace_id, span.span_id, repr(span)))


@given(st.lists(SPANS, max_size=4))
def test_what_is_encoded_is_decoded(spans: list[SpanRecord]) -> None:
    assert by_id(otlp_json.decode(otlp_json.encode(spans))) == by_id(spans)


@given(SPANS)
def test_the_protocols_own_definition_accepts_it(span: SpanRecord) -> None:
    document = ids_as_base64(json.loads(otlp_json.encode([span])))

    # Raises for a field that the protocol does not know or of another type.
    parsed = json_format.ParseDict(document, TracesData(), ignore_unknown_fields=False)

    theirs = parsed.resource_spans[0].scope_spans[0].spans[0]
    assert theirs.trace_id.hex() == span.trace_id
    assert theirs.span_id.hex() == span.span_id
    assert theirs.parent_span_id.hex() == span.parent_id
    assert theirs.name == span.name
    assert theirs.kind == span.kind
    assert theirs.start_time_unix_nano == span.start_unix_ns
    assert theirs.end_time_unix_nano == span.end_unix_ns
    assert [pair.key for pair in theirs.attributes] == list(span.attributes)
    assert [event.name for event in theirs.events] == [event.name for event in span.events]
    assert [link.span_id.hex() for link in theirs.links] == [link.span_id for link in span.links]
    assert theirs.status.code == span.status
    assert theirs.dropped_events_count == span.dropped_events


def test_ids_are_hex_and_big_numbers_are_strings() -> None:
    span = SpanRecord(
        trace_id="0af7651916cd43dd8448eb211c80319c",
        span_id="b7ad6b7169203331",
        name="plan",
        start_unix_ns=1_700_000_000_000_000_001,
        end_unix_ns=1_700_000_000_000_000_002,
        attributes={"n": 2**53 + 1, "share": 0.5},
        resource={"service.name": "planner"},
    )

    document = json.loads(otlp_json.encode([span]))

    (resource,) = document["resourceSpans"]
    assert resource["resource"]["attributes"][0]["value"] == {"stringValue": "planner"}
    wire = resource["scopeSpans"][0]["spans"][0]
    assert wire["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert wire["startTimeUnixNano"] == "1700000000000000001"
    assert wire["attributes"] == [
        {"key": "n", "value": {"intValue": "9007199254740993"}},
        {"key": "share", "value": {"doubleValue": 0.5}},
    ]
    assert "parentSpanId" not in wire


def test_spans_are_grouped_by_resource_and_scope() -> None:
    spans = [
        SpanRecord(trace_id="1" * 32, span_id=f"{n:016x}", resource={"service.name": who}, scope=s)
        for n, (who, s) in enumerate(
            [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x"), ("b", "x")], start=1
        )
    ]

    document = json.loads(otlp_json.encode(spans))

    assert [
        [(group["scope"]["name"], len(group["spans"])) for group in resource["scopeSpans"]]
        for resource in document["resourceSpans"]
    ] == [[("x", 2), ("y", 1)], [("x", 2)]]


def test_not_a_number_survives() -> None:
    span = SpanRecord(trace_id="1" * 32, span_id="1" * 16, attributes={"x": math.nan})

    (back,) = otlp_json.decode(otlp_json.encode([span]))

    value = back.attributes["x"]
    assert isinstance(value, float)
    assert math.isnan(value)


def test_what_json_or_protobuf_cannot_hold_is_kept_as_text() -> None:
    span = SpanRecord(
        trace_id="1" * 32,
        span_id="1" * 16,
        name="lone \udcff surrogate",
        attributes={"output": "from a \udcff workload", "huge": 2**63},
    )

    (back,) = otlp_json.decode(otlp_json.encode([span]))

    assert back.name == "lone ? surrogate"
    assert back.attributes == {"output": "from a ? workload", "huge": str(2**63)}


def test_documents_of_others_are_read() -> None:
    document = {
        "resourceSpans": [
            {
                "schemaUrl": "https://example.org",
                "scopeSpans": [
                    {
                        "scope": {"name": "x", "version": "1"},
                        "spans": [
                            {
                                "traceId": "0AF7651916CD43DD8448EB211C80319C",
                                "spanId": "B7AD6B7169203331",
                                "flags": 257,
                                "traceState": "a=b",
                                "startTimeUnixNano": 7,
                                "attributes": [
                                    {"key": "n", "value": {"intValue": 3}},
                                    {"key": "d", "value": {"doubleValue": "Infinity"}},
                                    {"key": "none", "value": {}},
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }

    (span,) = otlp_json.decode(msgspec.json.encode(document))

    assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert span.start_unix_ns == 7
    assert span.attributes == {"n": 3, "d": math.inf, "none": None}


def one_span(**changes: object) -> bytes:
    span = {"traceId": "1" * 32, "spanId": "1" * 16} | changes
    return msgspec.json.encode({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"resourceSpans": 7}',
        b"[" * 100_000,
        one_span(traceId=""),
        one_span(traceId="0" * 32),
        one_span(traceId="z" * 32),
        one_span(spanId="1" * 17),
        one_span(parentSpanId="short"),
        one_span(kind=99),
        one_span(status={"code": 9}),
        one_span(startTimeUnixNano="-1"),
        one_span(startTimeUnixNano="1_000"),
        one_span(startTimeUnixNano="9" * 5000),
        one_span(endTimeUnixNano=str(2**64)),
        one_span(attributes=[{"key": "b", "value": {"bytesValue": "!"}}]),
        one_span(attributes=[{"key": "d", "value": {"doubleValue": "much"}}]),
        one_span(events=[{"timeUnixNano": "soon"}]),
        one_span(links=[{"traceId": "", "spanId": ""}]),
    ],
)
def test_what_is_no_trace_is_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        otlp_json.decode(data)

    assert caught.value.expected
    assert len(caught.value.got) < 500


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_a_message_error(data: bytes) -> None:
    with pytest.raises(MessageError):
        otlp_json.decode(data)
