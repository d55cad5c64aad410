"""A request over hosts of several kinds, as `cox` shows it: several optimizations, one trace."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from cli.optimizing import exit_code
from shared.bus import Bus
from shared.messages import (
    AcceptedPart,
    CancelRequest,
    Ended,
    OptimizeReply,
    OptimizeRequest,
    Reply,
    Terminal,
)
from tests.cli.conftest import CoxOnBus
from tests.cli.recorded import Recorded, optimization, rejected
from tests.cli.test_commands import pressed, refused
from tests.cli.test_following import told


def of_one_request(*recordings: Recorded) -> list[Recorded]:
    """The same, all in one trace."""
    traceparent = recordings[0].record.traceparent
    return [
        Recorded(replace(each.record, traceparent=traceparent), each.events) for each in recordings
    ]


def reply_of(recordings: list[Recorded], waits: str = "") -> OptimizeReply:
    parts = [
        AcceptedPart(optimization=each.record.id, hosts=each.record.hosts, waits=waits)
        for each in recordings
    ]
    return OptimizeReply(
        accepted=True,
        optimization=parts[0].optimization,
        trace_id=recordings[0].record.trace_id,
        hosts=parts[0].hosts,
        parts=parts,
    )


async def play(bus: Bus, recordings: list[Recorded], waits: str = "") -> None:
    async def accept(_request: OptimizeRequest) -> OptimizeReply:
        # Side by side, as hosts of different kinds would be.
        await asyncio.gather(*(each.publish(bus) for each in recordings))
        await recordings[0].publish_spans(bus)
        return reply_of(recordings, waits)

    await bus.serve(bus.subjects.optimize, OptimizeRequest, accept, queue="planner", refuse=refused)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (["promoted", "promoted"], 0),
        (["promoted", "kept-default"], 4),
        (["kept-default", "rejected", "promoted"], 3),
        (["rejected", "cancelled", "promoted"], 1),
        (["promoted", "failed"], 1),
        (["promoted", None], 1),
    ],
    ids=str,
)
def test_the_worst_end_counts(ends: list[Terminal | None], code: int) -> None:
    one = optimization().record
    assert exit_code([replace(one, terminal=end) for end in ends]) == code
    assert exit_code([one, None]) == 1


async def test_all_parts_are_followed_and_reported_each_in_its_own_directory(
    bus: Bus, cox_on_bus: CoxOnBus, tmp_path: Path
) -> None:
    recordings = of_one_request(optimization(), rejected())
    await play(bus, recordings)
    ran = await cox_on_bus("optimize", "wakeup", "--report", str(tmp_path / "run"))
    assert (ran.code, ran.err) == (3, "")
    assert "2 kinds of hosts" in ran.out
    lines = ran.out.splitlines()
    for number, recorded in enumerate(recordings, 1):
        told = [line for line in lines if line.startswith(f"{number} ")]
        assert any(recorded.record.id in line for line in told)
        assert any(str(recorded.record.terminal) in line for line in told)
        report = tmp_path / "run" / recorded.record.id / "report.json"
        assert json.loads(report.read_text())["optimization"] == recorded.record.id
    assert sum(" → " in line and line.startswith("1 ") for line in lines) >= 8


async def test_with_json_every_part_s_events_and_reports_are_lines(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    recordings = of_one_request(optimization(), rejected())
    await play(bus, recordings)
    ran = await cox_on_bus("optimize", "wakeup", "--json")
    assert ran.code == 3
    lines = ran.lines
    assert [line["type"] for line in lines[-2:]] == ["report", "report"]
    for recorded in recordings:
        own = [line for line in lines if line["optimization"] == recorded.record.id]
        assert len(own) == len(recorded.events) + 1


async def test_detached_tells_every_id_and_what_it_waits_for(
    bus: Bus, cox_on_bus: CoxOnBus
) -> None:
    recordings = of_one_request(optimization(), rejected())
    await play(bus, recordings, waits="o9 works on lab-1")
    text = await cox_on_bus("optimize", "wakeup", "--detach")
    document = (await cox_on_bus("optimize", "wakeup", "--detach", "--json")).document
    assert text.code == 0
    for recorded, part in zip(recordings, document["parts"], strict=True):
        assert f"cox status {recorded.record.id} --watch" in text.out
        assert part["optimization"] == recorded.record.id
    assert text.out.count("o9 works on lab-1") == 2


async def test_last_is_the_first_part(bus: Bus, cox_on_bus: CoxOnBus) -> None:
    first, second = of_one_request(optimization(), rejected())
    names = ("o1-a", "o1-b")
    for name, recorded in zip(names, (first, second), strict=True):
        await Recorded(replace(recorded.record, id=name), []).publish(bus)
    ran, listed = await asyncio.gather(
        cox_on_bus("report", "last", "--json"), cox_on_bus("optimizations", "--json")
    )
    assert ran.document["optimization"] == "o1-a"
    assert [line["optimization"] for line in listed.document["optimizations"]] == list(names)


async def test_ctrl_c_cancels_every_part_that_goes_on(
    bus: Bus, bus_environment: dict[str, str]
) -> None:
    over, one, two = recordings = of_one_request(rejected(), optimization(), optimization())
    cancelled: set[str] = set()
    both = asyncio.Event()

    async def accept(_request: OptimizeRequest) -> OptimizeReply:
        await over.publish(bus)
        for each in (one, two):
            await each.publish(bus, until=8)
        return reply_of(recordings)

    async def cancel(request: CancelRequest) -> Reply:
        cancelled.add(request.optimization)
        if len(cancelled) == 2:
            both.set()
        return Reply()

    await bus.serve(bus.subjects.optimize, OptimizeRequest, accept, queue="planner", refuse=refused)
    await bus.serve(
        bus.subjects.endpoint("planner", "cancel"), CancelRequest, cancel, queue="planner"
    )
    seen = (b" rejected", b" 2 try ", b" 3 try ")
    process = await pressed(bus_environment, "optimize", "wakeup", until=seen)
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(both.wait(), 30)
    assert cancelled == {one.record.id, two.record.id}
    for each in (one, two):
        record = replace(each.record, terminal="cancelled", winner=None, reasons=["Ctrl-C"])
        ended = Ended(optimization=record.id, terminal="cancelled", reasons=["Ctrl-C"])
        events = [*each.events[:8], ("planner", "ended", ended)]
        await Recorded(record, events).publish(bus, since=8)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.parametrize("width", [72, 120])
def test_a_labelled_line_fits_its_terminal(width: int) -> None:
    recorded = optimization()
    lines = told(recorded, width=width, label="12").splitlines()
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith(("12 ", "   ")) for line in lines)
    rounds = [line for line in lines if " → " in line]
    assert len(rounds) == recorded.record.trials[0].pairs
    assert all(line.startswith("12 ") for line in rounds)
