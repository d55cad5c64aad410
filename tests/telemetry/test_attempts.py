"""Work that is done once more points to the spans of its earlier attempts."""

from __future__ import annotations

import asyncio

import pytest

from shared.bus import Bus, Delivery
from shared.bus.provision import provision_host
from shared.messages import StopCommand
from shared.telemetry.attempts import REMEMBERED, Attempts
from tests.telemetry.conftest import Recorder


def fail(recorder: Recorder, attempts: Attempts, number: int) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        attempts.attempt(number),
        recorder.telemetry.span("trial"),
        recorder.telemetry.span("deploy"),
    ):
        raise ZeroDivisionError


def links(recorder: Recorder, name: str) -> list[list[str]]:
    return [[link.span_id for link in s.links] for s in recorder.spans if s.name == name]


def test_the_outermost_span_is_linked_to_all_before_it_and_no_other(recorder: Recorder) -> None:
    attempts = Attempts()
    fail(recorder, attempts, 7)
    fail(recorder, attempts, 7)
    with attempts.attempt(7), recorder.telemetry.span("trial"):
        pass
    first, second, _ = (span.span_id for span in recorder.spans if span.name == "trial")
    assert links(recorder, "trial") == [[], [first], [first, second]]
    assert links(recorder, "deploy") == [[], []]


def test_what_went_well_and_what_is_other_work_is_linked_to_nothing(recorder: Recorder) -> None:
    attempts = Attempts()
    fail(recorder, attempts, 1)
    for number in (2, 1, 1):
        with attempts.attempt(number), recorder.telemetry.span("plan"):
            pass
    failed = next(span.span_id for span in recorder.spans if span.name == "trial")
    assert links(recorder, "plan") == [[], [failed], []]


def test_what_never_comes_again_is_forgotten(recorder: Recorder) -> None:
    attempts = Attempts()
    for number in range(REMEMBERED + 1):
        fail(recorder, attempts, number)
    for number in (0, 1):
        with attempts.attempt(number), recorder.telemetry.span("plan"):
            pass
    assert [len(each) for each in links(recorder, "plan")] == [0, 1]


async def test_a_command_that_is_delivered_again_is_such_work(bus: Bus, recorder: Recorder) -> None:
    await provision_host(bus.js, bus.subjects, "h1")
    done = asyncio.Event()

    async def stop(_command: StopCommand, delivery: Delivery) -> None:
        with recorder.telemetry.span("revert"):
            if delivery.deliveries < 3:
                raise ZeroDivisionError
        done.set()

    consumer = bus.subjects.consumer("executor", "host", "h1")
    bus.consume("COMMANDS", consumer, {"stop": (StopCommand, stop)}, host="h1")
    command = StopCommand(optimization="o1", trial="t1", reason="why")
    subject = bus.subjects.command("executor", "stop", "h1")
    await bus.publish(subject, command, message_id="once")
    await done.wait()
    first, second, _ = (span.span_id for span in recorder.spans)
    assert links(recorder, "revert") == [[], [first], [first, second]]
