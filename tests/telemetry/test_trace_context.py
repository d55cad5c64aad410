from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from shared.telemetry import (
    NEW_TRACE,
    Telemetry,
    attached,
    context_of,
    extract,
    inject,
    root_context,
    start_telemetry,
    trace_id_of,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


@pytest.fixture
def telemetry() -> Telemetry:
    return start_telemetry("planner", publish=None)


def test_outside_of_every_span_there_is_nothing_to_carry() -> None:
    assert inject() == {}


def test_a_span_goes_through_headers_and_becomes_a_parent(recorder: Any) -> None:
    with recorder.telemetry.span("optimize", of="wakeup", parent=NEW_TRACE) as root:
        headers = inject()
    with recorder.telemetry.span("trial", parent=extract(headers)) as trial:
        assert trial.trace_id == root.trace_id

    assert list(headers) == ["traceparent"]
    first, second = recorder.spans
    assert (first.parent_id, second.parent_id) == ("", first.span_id)


def test_a_stored_traceparent_goes_on_with_the_trace_in_another_process(recorder: Any) -> None:
    with recorder.telemetry.span("optimize", parent=NEW_TRACE) as root:
        stored = root.traceparent

    another = type(recorder)()
    with another.telemetry.span("plan", parent=context_of(stored)):
        pass

    assert another.spans[0].trace_id == root.trace_id
    assert another.spans[0].parent_id == root.span_id


def test_ids_alone_are_enough_to_go_on() -> None:
    assert inject(root_context(TRACE_ID, SPAN_ID)) == {"traceparent": TRACEPARENT}
    assert trace_id_of(root_context(TRACE_ID, SPAN_ID)) == TRACE_ID
    assert trace_id_of(root_context("no", "ids")) == ""


def test_an_attached_context_is_current_inside_only(telemetry: Telemetry) -> None:
    with attached(context_of(TRACEPARENT)):
        assert inject() == {"traceparent": TRACEPARENT}
        with telemetry.span("plan") as span:
            assert span.trace_id == TRACE_ID
    assert inject() == {}


def test_a_new_trace_can_begin_inside_another_and_link_to_it(recorder: Any) -> None:
    with (
        attached(context_of(TRACEPARENT)),
        recorder.telemetry.span("optimize", parent=NEW_TRACE, links=[extract(inject())]),
    ):
        pass

    (root,) = recorder.spans
    assert root.parent_id == ""
    assert root.trace_id != TRACE_ID
    assert [(link.trace_id, link.span_id) for link in root.links] == [(TRACE_ID, SPAN_ID)]


def test_a_link_to_nothing_is_no_link(recorder: Any) -> None:
    with recorder.telemetry.span("optimize", parent=NEW_TRACE, links=[extract({})]):
        pass

    assert recorder.spans[0].links == ()


async def test_tasks_keep_their_own_current_span(telemetry: Telemetry) -> None:
    async def work(name: str) -> tuple[str, str]:
        with telemetry.span("measure", of=name, parent=NEW_TRACE) as span:
            await asyncio.sleep(0)
            return span.traceparent, inject()["traceparent"]

    for own, current in await asyncio.gather(*(work(str(number)) for number in range(20))):
        assert own == current


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01\r\nX: y",
        f"00-{TRACE_ID[:-1]}٣-{SPAN_ID}-01",
        TRACEPARENT + " " * 10_000,
    ],
)
def test_a_malformed_traceparent_is_ignored(value: str, telemetry: Telemetry) -> None:
    context = extract({"traceparent": value})

    assert trace_id_of(context) == ""
    with telemetry.span("plan", parent=context) as span:
        assert span.trace_id != TRACE_ID


@given(st.text(max_size=80))
def test_no_header_does_harm(value: str) -> None:
    extract({"traceparent": value, "tracestate": value})


@pytest.mark.parametrize("headers", [None, {}, {"Traceparent": TRACEPARENT}])
def test_only_the_lower_case_key_counts(headers: dict[str, str] | None) -> None:
    assert trace_id_of(extract(headers)) == ""


def test_a_tracestate_is_not_carried_on() -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=secret"}

    assert inject(extract(headers)) == {"traceparent": TRACEPARENT}


def test_a_caller_cannot_switch_recording_off(recorder: Any) -> None:
    with recorder.telemetry.span("plan", parent=context_of(f"00-{TRACE_ID}-{SPAN_ID}-00")):
        assert inject()["traceparent"].endswith("-01")

    assert [span.trace_id for span in recorder.spans] == [TRACE_ID]


def test_nothing_global_is_touched(telemetry: Telemetry) -> None:
    with telemetry.span("plan"):
        pass

    assert trace.get_tracer_provider() is not telemetry.provider
