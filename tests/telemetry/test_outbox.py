from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared import attributes as names
from shared.bus import Bus
from shared.errors import BusUnavailableError
from shared.subjects import Subjects
from shared.telemetry import NEW_TRACE, Telemetry, context_of, outbox, start_telemetry
from shared.telemetry.store import read_trace
from tests.eventually import eventually


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_GATHER_S", 0.01)
    monkeypatch.setattr(outbox, "_FIRST_PAUSE_S", 0.01)


def make_spans(telemetry: Telemetry, count: int, parent: Any = None) -> None:
    for _ in range(count):
        with telemetry.span("round", parent=parent):
            pass


async def test_a_span_is_published_while_the_work_goes_on(fake_bus: Any) -> None:
    async with start_telemetry("planner", publish=fake_bus.publish) as telemetry:
        with telemetry.span("optimize", of="wakeup", parent=NEW_TRACE) as root:
            pass
        await eventually(lambda: fake_bus.sent)

        subject, _ = fake_bus.sent[0]
        assert subject == f"cox.span.planner.{root.trace_id}"
        assert fake_bus.names == ["optimize wakeup"]


async def test_each_trace_goes_to_its_own_subject(fake_bus: Any) -> None:
    subjects = Subjects("fleet")
    async with start_telemetry("learner", publish=fake_bus.publish, subjects=subjects) as telemetry:
        make_spans(telemetry, 5, NEW_TRACE)

    assert len({subject for subject, _ in fake_bus.sent}) == 5
    assert all(subject.startswith("fleet.span.learner.") for subject, _ in fake_bus.sent)


async def test_shutdown_sends_what_waits(fake_bus: Any) -> None:
    async with start_telemetry("planner", publish=fake_bus.publish) as telemetry:
        with telemetry.span("optimize", parent=NEW_TRACE):
            make_spans(telemetry, 500)

    assert len(fake_bus.spans) == telemetry.published == 501
    assert telemetry.dropped == 0


async def test_shutdown_can_be_called_twice_and_late_spans_are_counted(fake_bus: Any) -> None:
    telemetry = start_telemetry("planner", publish=fake_bus.publish)
    await telemetry.shutdown()
    await telemetry.shutdown()

    make_spans(telemetry, 1)

    assert telemetry.dropped == 1
    assert fake_bus.sent == []


async def test_spans_of_many_threads_arrive(fake_bus: Any) -> None:
    async with start_telemetry("executor", publish=fake_bus.publish) as telemetry:
        await asyncio.gather(*(asyncio.to_thread(make_spans, telemetry, 50) for _ in range(8)))

    assert len({span.span_id for span in fake_bus.spans}) == 400


async def test_a_bus_that_is_away_loses_nothing_within_the_bound(fake_bus: Any) -> None:
    away = BusUnavailableError("no server")
    fake_bus.failures = [away, TimeoutError(), ConnectionResetError()]

    with capture_logs() as logs:
        async with start_telemetry("planner", publish=fake_bus.publish) as telemetry:
            make_spans(telemetry, 3, context_of(f"00-{'1' * 32}-{'2' * 16}-01"))
            await eventually(lambda: telemetry.published == 3)

    assert len(fake_bus.spans) == 3
    assert telemetry.dropped == 0
    assert [line["event"] for line in logs] == ["telemetry.bus_is_away", "telemetry.bus_is_back"]


async def test_under_load_the_queue_is_bounded_and_the_root_is_kept(
    fake_bus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CAPACITY", 100)
    there = asyncio.Event()

    async def publish(subject: str, payload: bytes) -> None:
        await there.wait()
        await fake_bus.publish(subject, payload)

    async with start_telemetry("planner", publish=publish) as telemetry:
        with telemetry.span("optimize", parent=NEW_TRACE) as root:
            pass
        await asyncio.to_thread(make_spans, telemetry, 5000, root.context)
        assert telemetry.dropped == 4901
        there.set()

    assert len(fake_bus.spans) == telemetry.published == 100
    assert fake_bus.names[0] == "optimize"


async def test_a_bus_that_hangs_does_not_hold_up_the_end() -> None:
    async def publish(_subject: str, _payload: bytes) -> None:
        await asyncio.Event().wait()

    telemetry = start_telemetry("planner", publish=publish)
    make_spans(telemetry, 7)

    with capture_logs() as logs:
        await telemetry.shutdown(deadline_s=0.05)

    assert (telemetry.published, telemetry.dropped) == (0, 7)
    assert [(line["event"], line["count"]) for line in logs] == [("telemetry.spans_dropped", 7)]


async def test_a_bus_that_is_away_does_not_hold_up_the_end(fake_bus: Any) -> None:
    fake_bus.failures = [BusUnavailableError("no server")] * 10_000
    telemetry = start_telemetry("planner", publish=fake_bus.publish)
    make_spans(telemetry, 7)

    await telemetry.shutdown(deadline_s=0.05)

    assert (telemetry.published, telemetry.dropped) == (0, 7)


async def test_what_publishing_cannot_do_is_dropped_and_said(fake_bus: Any) -> None:
    fake_bus.failures = [RuntimeError("a bug")]

    with capture_logs() as logs:
        async with start_telemetry("planner", publish=fake_bus.publish) as telemetry:
            make_spans(telemetry, 1)
            await eventually(lambda: telemetry.dropped)
            make_spans(telemetry, 1)

    assert (telemetry.published, telemetry.dropped) == (1, 1)
    assert logs[0]["problem"] == "RuntimeError('a bug')"


async def test_large_batches_are_split_and_a_span_too_large_is_dropped(
    fake_bus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_PAYLOAD_BYTES", 4000)

    async with start_telemetry("planner", publish=fake_bus.publish) as telemetry:
        with telemetry.span("optimize", parent=NEW_TRACE):
            make_spans(telemetry, 30)
            with telemetry.span("plan", attributes={names.DECISION_WHY: "x" * 5000}):
                pass

    assert sorted(fake_bus.names) == ["optimize", *["round"] * 30]
    assert max(len(payload) for _, payload in fake_bus.sent) <= 4000
    assert (telemetry.published, telemetry.dropped) == (31, 1)


async def test_publishing_belongs_to_no_trace(fake_bus: Any) -> None:
    seen: list[dict[str, str]] = []

    async def publish(_subject: str, _payload: bytes) -> None:
        from shared.telemetry import inject

        seen.append(inject())

    boot = start_telemetry("planner", publish=None)
    with boot.span("plan"):
        telemetry = start_telemetry("planner", publish=publish)
    make_spans(telemetry, 1)
    await telemetry.shutdown()

    assert seen == [{}]


async def test_spans_of_several_services_are_one_trace_on_a_real_bus(bus: Bus) -> None:
    planner = start_telemetry("planner", publish=bus.publish_bytes, subjects=bus.subjects)
    with planner.span("optimize", of="wakeup", parent=NEW_TRACE) as root:
        pass
    await planner.shutdown()
    executor = start_telemetry(
        "executor", "lab-1", publish=bus.publish_bytes, subjects=bus.subjects
    )
    with executor.span("trial", parent=context_of(root.traceparent)):
        pass
    await executor.shutdown()

    subscription = await bus.js.subscribe(bus.subjects.spans(root.trace_id), ordered_consumer=True)
    payloads = [(await subscription.next_msg(timeout=10)).data for _ in range(2)]
    await subscription.unsubscribe()
    trace = read_trace(payloads, root.trace_id)

    assert trace.problems() == []
    assert [span.name for span in trace.spans] == ["optimize wakeup", "trial"]
