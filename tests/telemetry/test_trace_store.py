from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.telemetry import otlp_json
from shared.telemetry.records import SpanRecord
from shared.telemetry.store import Forest, Node, read_trace

TRACE = "a" * 32


def span(number: int, parent: int = 0, *, service: str = "planner", **more: object) -> SpanRecord:
    """Span `number`, made inside span `parent` (0 for none), at second `number`."""
    return SpanRecord(
        trace_id=TRACE,
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=f"span-{number}",
        start_unix_ns=number * 10**9,
        end_unix_ns=number * 10**9 + 5 * 10**8,
        resource={"service.name": service},
        **more,  # type: ignore[arg-type]
    )


def payloads(*spans: SpanRecord) -> list[bytes]:
    return [otlp_json.encode([one]) for one in spans]


def shape(node: Node) -> tuple[str, list[object]]:
    return node.span.name, [shape(child) for child in node.children]


def count(forest: Forest) -> int:
    waiting, total = [*forest.roots, *forest.orphans], 0
    while waiting:
        node = waiting.pop()
        total += 1
        waiting += node.children
    return total


def test_a_trace_is_read_in_any_order_and_with_duplicates() -> None:
    spans = [span(1), span(2, 1), span(3, 2), span(4, 1)]
    sent = payloads(*spans, *spans)
    random.Random(7).shuffle(sent)

    trace = read_trace(sent)

    assert [one.name for one in trace.spans] == ["span-1", "span-2", "span-3", "span-4"]
    assert trace.problems() == []
    assert trace.start_unix_ns == 10**9
    assert trace.duration_ns == 35 * 10**8
    (root,) = trace.forest().roots
    assert shape(root) == ("span-1", [("span-2", [("span-3", [])]), ("span-4", [])])


def test_the_document_is_one_valid_trace_grouped_by_service() -> None:
    spans = [span(1), span(2, 1, service="executor"), span(3, 1), span(4, 1, service="executor")]

    document = read_trace(payloads(*spans, *spans)).document()

    resources = json.loads(document)["resourceSpans"]
    assert [
        (
            resource["resource"]["attributes"][0]["value"]["stringValue"],
            [one["name"] for group in resource["scopeSpans"] for one in group["spans"]],
        )
        for resource in resources
    ] == [("planner", ["span-1", "span-3"]), ("executor", ["span-2", "span-4"])]
    assert read_trace([document]).spans == tuple(spans)


def test_of_several_traces_one_must_be_named() -> None:
    other = SpanRecord(trace_id="b" * 32, span_id="1" * 16)
    sent = payloads(span(1), other)

    assert [one.name for one in read_trace(sent, TRACE).spans] == ["span-1"]
    with pytest.raises(InputError, match="exactly one trace"):
        read_trace(sent)
    with pytest.raises(InputError, match=f"spans of {TRACE}, {'b' * 32}"):
        read_trace(sent, "c" * 32)


def test_no_spans_at_all_are_no_trace() -> None:
    with pytest.raises(InputError, match="no spans"):
        read_trace([])


def test_spans_without_their_parent_are_orphans_and_said() -> None:
    trace = read_trace(payloads(span(1), span(3, 2), span(4, 3)))

    (orphan,) = trace.forest().orphans
    assert shape(orphan) == ("span-3", [("span-4", [])])
    assert "1 orphan" in trace.problems()[0]


def test_a_missing_root_and_a_second_root_are_said() -> None:
    assert "expected one root, got 0" in read_trace(payloads(span(2, 1))).problems()
    assert "expected one root, got 2" in read_trace(payloads(span(1), span(2))).problems()


def test_unreadable_payloads_are_said_and_hide_nothing() -> None:
    trace = read_trace([b"garbage", *payloads(span(1))])

    assert len(trace.spans) == 1
    assert "could not be read" in trace.problems()[0]


def test_what_did_not_fit_into_spans_is_said() -> None:
    trace = read_trace(payloads(span(1, dropped_events=2, dropped_attributes=1)))

    assert trace.problems() == ["3 attributes or events did not fit into their spans"]


def test_spans_that_claim_to_be_their_own_ancestors_are_orphans() -> None:
    ring = [span(2, 4), span(3, 2), span(4, 3), span(5, 5)]

    forest = read_trace(payloads(span(1), *ring)).forest()

    assert [shape(orphan) for orphan in forest.orphans] == [
        ("span-2", [("span-3", [("span-4", [])])]),
        ("span-5", []),
    ]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=10))
def test_every_span_is_in_the_forest_exactly_once(parents: list[int]) -> None:
    spans = [span(number, parent) for number, parent in enumerate(parents, start=1)]

    assert count(read_trace(payloads(*spans)).forest()) == len(spans)


def test_a_very_deep_trace_is_no_trouble() -> None:
    spans = [span(number, number - 1) for number in range(1, 5001)]

    trace = read_trace([otlp_json.encode(spans)])

    assert count(trace.forest()) == 5000
    assert trace.problems() == []
