from __future__ import annotations

import asyncio
from typing import Any, get_args

import pytest

from shared import attributes as names
from shared.errors import InputError, MachineError, RejectedError, WorkloadError
from shared.telemetry import Telemetry, event, start_telemetry
from shared.telemetry.records import Kind, Status


def test_a_span_says_who_made_it_and_what_was_decided(recorder: Any) -> None:
    with recorder.telemetry.span("plan", attributes={names.OPTIMIZATION_ID: "o1"}) as span:
        span.set({names.DECISION_WHY: "threads wait", names.DECISION_CONSIDERED: ["fair", "fifo"]})
        span.event("plan.recalled", {names.RECALL_NEAR: 2})
        event("plan.scored")

    (made,) = recorder.spans
    assert made.name == "plan"
    assert made.kind is Kind.INTERNAL
    assert made.status is Status.UNSET
    assert made.resource[names.SERVICE_NAME] == "planner"
    assert made.resource[names.HOST_NAME] == "lab-1"
    assert made.attributes == {
        names.OPTIMIZATION_ID: "o1",
        names.DECISION_WHY: "threads wait",
        names.DECISION_CONSIDERED: ("fair", "fifo"),
    }
    assert [(e.name, e.attributes) for e in made.events] == [
        ("plan.recalled", {names.RECALL_NEAR: 2}),
        ("plan.scored", {}),
    ]
    assert made.end_unix_ns >= made.start_unix_ns > 0


def test_an_event_outside_of_every_span_goes_nowhere() -> None:
    event("plan.scored")


def test_an_exception_makes_an_error_and_passes_through(recorder: Any) -> None:
    with pytest.raises(ZeroDivisionError), recorder.telemetry.span("judge"):
        raise ZeroDivisionError("by zero")

    (span,) = recorder.spans
    assert (span.status, span.status_text) == (Status.ERROR, "by zero")
    assert span.attributes[names.ERROR_TYPE] == "ZeroDivisionError"
    (recorded,) = span.events
    assert recorded.name == "exception"
    assert "test_spans.py" in recorded.attributes[names.EXCEPTION_STACKTRACE]


def test_our_own_errors_explain_themselves_without_a_stack(recorder: Any) -> None:
    with pytest.raises(WorkloadError), recorder.telemetry.span("measure"):
        raise WorkloadError("no number", expected="p99_us", got="nothing", advice="See its log.")

    (span,) = recorder.spans
    assert span.status_text == "no number; expected p99_us; got nothing. See its log."
    assert names.EXCEPTION_STACKTRACE not in span.events[0].attributes


def test_a_rejection_is_an_outcome_and_not_an_error(recorder: Any) -> None:
    with pytest.raises(RejectedError), recorder.telemetry.span("build"):
        raise RejectedError("calls a helper")

    (span,) = recorder.spans
    assert span.status is Status.UNSET
    assert span.events == ()
    assert span.attributes == {names.OUTCOME: "rejected", names.PROBLEM_TEXT: "calls a helper"}


async def test_a_cancellation_is_nobodys_fault(recorder: Any) -> None:
    async def work() -> None:
        with recorder.telemetry.span("trial"):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (span,) = recorder.spans
    assert span.status is Status.UNSET
    assert span.attributes == {names.OUTCOME: "cancelled"}


def test_a_handled_failure_can_be_said(recorder: Any) -> None:
    with recorder.telemetry.span("trial") as span:
        span.fail("the workload hung", kind="WorkloadError")

    (made,) = recorder.spans
    assert (made.status, made.status_text) == (Status.ERROR, "the workload hung")
    assert made.attributes[names.ERROR_TYPE] == "WorkloadError"


@pytest.mark.parametrize(
    "use",
    [
        lambda telemetry: telemetry.span("dance").__enter__(),
        lambda telemetry: telemetry.span("plan", attributes={"coxswain.typo": 1}).__enter__(),
        lambda telemetry: inside(telemetry).set({"why": "because"}),
        lambda telemetry: inside(telemetry).event("plan.scored", {"score": 1.0}),
        lambda telemetry: inside(telemetry).event("A sentence about 7 things"),
    ],
)
def test_unknown_names_are_refused(recorder: Any, use: Any) -> None:
    with pytest.raises(InputError):
        use(recorder.telemetry)


def inside(telemetry: Telemetry) -> Any:
    with telemetry.span("plan") as span:
        return span


def test_every_name_is_listed_once_and_well_formed() -> None:
    listed = [
        value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)
    ]
    assert len(listed) == len(set(listed)) == len(names.ALL)
    assert all(value == value.lower() and "." in value for value in listed)
    assert all(name.isidentifier() for name in get_args(names.SpanName))


def test_one_span_stays_small_whatever_is_written_into_it(recorder: Any) -> None:
    with recorder.telemetry.span("plan", attributes={names.DECISION_WHY: "x" * 10**6}) as span:
        for _ in range(1000):
            span.event("plan.scored")

    (made,) = recorder.spans
    assert len(made.attributes[names.DECISION_WHY]) == 8192
    assert len(made.events) == 256
    assert made.dropped_events == 744


def test_a_switched_off_sdk_is_an_error_and_not_an_empty_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    with pytest.raises(MachineError, match="Unset it"):
        start_telemetry("planner", publish=None)


def test_resource_attributes_of_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "somebody")

    resource = start_telemetry("learner", publish=None).provider.resource.attributes

    assert resource["deployment.environment.name"] == "lab"
    assert resource[names.SERVICE_NAME] == "learner"
