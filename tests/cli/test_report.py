from __future__ import annotations

import json
import struct
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from cli.follow.facts import Fact
from cli.follow.life import Life
from cli.report.compose import compose
from cli.report.model import Report
from cli.report.picture import draw
from cli.report.table import result
from cli.report.write import encode, write_report
from shared.bus import Bus
from shared.errors import MachineError, RequestError
from shared.messages import Round
from tests.cli.recorded import Recorded, crowded, optimization, rejected


def report_of(recorded: Recorded) -> Report:
    life = Life()
    for number, (service, name, message) in enumerate(recorded.events):
        life.take(Fact(service=service, name=name, message=message, unix_ns=0, sequence=number))
    return compose(recorded.record, life, {"requests_per_s": "1/s"})


def test_a_promotion_carries_every_raw_value_and_what_decided() -> None:
    recorded = optimization()
    report = report_of(recorded)
    measured = [message for _, _, message in recorded.events if isinstance(message, Round)]
    trial = report.decisive_trial
    assert trial is not None
    assert report.terminal == "promoted"
    assert report.verdict == "promote"
    assert [each.baseline for each in trial.rounds] == [each.baseline for each in measured]
    assert [each.candidate for each in trial.rounds] == [each.candidate for each in measured]
    assert len(trial.rounds) >= 8
    assert report.ratio is not None
    assert report.low is not None
    assert report.high is not None
    assert report.low <= report.ratio <= report.high < 0.95
    objective = trial.metrics[0]
    assert (objective.metric, objective.role) == ("wakeup_p99_us", "objective")
    assert report.baseline["wakeup_p99_us"] == objective.baseline
    assert report.measured["wakeup_p99_us"] == objective.candidate
    assert [each.host for each in report.deployments] == ["lab-1", "lab-2"]
    assert report.total.wall_s == pytest.approx(98.0)
    assert report.trace_id == recorded.record.trace_id
    assert report.versions.kernel.startswith("7.3")
    assert report.versions.virtualization == "qemu-tcg"


def test_neighbours_and_what_was_kept_for_them_stand_in_the_report() -> None:
    report = report_of(crowded())
    assert [each.workload for each in report.beside] == ["build"]
    assert report.against is not None
    assert report.against.optimization == "o0"
    trial = report.decisive_trial
    assert trial is not None
    (neighbour,) = (each for each in trial.metrics if each.metric == "build.builds_per_hour")
    assert (neighbour.role, neighbour.unit) == ("guardrail", "1/h")
    console = Console(width=120, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(result(report))
    shown = captured.get()
    row = next(line for line in shown.splitlines() if "build.builds_per_hour" in line)
    assert "guardrail: clear" in row
    assert "kept fair" in shown
    assert "build: lab-1 keeps fair for it, by o0" in shown


def test_harm_is_reported_as_harm() -> None:
    report = report_of(optimization(gain=0.9, harm=0.8))
    assert report.terminal == "kept-default"
    assert report.verdict == "revert"
    assert any(finding.state == "violated" for finding in report.trials[0].guardrails)
    assert report.deployments == []


def test_a_rejection_has_reasons_and_no_trial() -> None:
    report = report_of(rejected())
    assert report.terminal == "rejected"
    assert report.decisive_trial is None
    assert report.ratio is None
    assert report.trials == []


@pytest.mark.parametrize(
    "recorded",
    [optimization(), crowded(), rejected()],
    ids=["promoted", "crowded", "rejected"],
)
def test_report_json_reads_back_as_what_was_written(recorded: Recorded) -> None:
    report = report_of(recorded)
    data = encode(report)
    assert msgspec.json.decode(data, type=Report) == report
    assert json.loads(data)["type"] == "report"


def test_rounds_that_came_twice_count_once() -> None:
    recorded = optimization()
    repeated = Recorded(recorded.record, [*recorded.events, *recorded.events])
    assert report_of(repeated).trials == report_of(recorded).trials


def test_a_side_without_a_number_is_kept_and_gives_no_ratio() -> None:
    recorded = optimization()
    broken = []
    for service, name, message in recorded.events:
        if isinstance(message, Round) and message.index == 2:
            message = msgspec.structs.replace(message, candidate={})  # noqa: PLW2901
        broken.append((service, name, message))
    report = report_of(Recorded(recorded.record, broken))
    assert report.trials[0].rounds[2].ratio is None
    assert report.trials[0].rounds[2].candidate == {}
    assert encode(report)


@pytest.mark.parametrize(
    "recorded",
    [optimization(), crowded(), optimization(gain=1.0, noise=0.02, pairs=8), rejected()],
    ids=["promoted", "crowded", "kept-default", "rejected"],
)
def test_the_picture_is_drawn_whatever_came_of_it(recorded: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "report.png"
    draw(report_of(recorded), path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > height > 600


async def test_all_three_files_come_from_what_the_bus_keeps(bus: Bus, tmp_path: Path) -> None:
    recorded = optimization()
    await recorded.publish(bus)
    await recorded.publish_spans(bus)
    report, files = await write_report(bus, "last", tmp_path / "deep" / "er")
    assert [file.name for file in files] == ["report.json", "trace.json", "report.png"]
    assert msgspec.json.decode(files[0].read_bytes(), type=Report) == report
    trace = json.loads(files[1].read_bytes())
    spans = [
        span
        for resource in trace["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert len(spans) == 5
    assert [span["name"] for span in spans if not span.get("parentSpanId")] == ["optimize wakeup"]


async def test_a_trace_that_never_came_does_not_cost_the_evidence(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.report.collect.SPANS_S", 0.1)
    recorded = optimization()
    await recorded.publish(bus)
    _, files = await write_report(bus, recorded.record.id, tmp_path)
    assert [file.name for file in files] == ["report.json", "report.png"]


async def test_a_directory_that_cannot_be_is_said_plainly(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.report.collect.SPANS_S", 0.1)
    recorded = optimization()
    await recorded.publish(bus)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MachineError) as caught:
        await write_report(bus, recorded.record.id, tmp_path / "file" / "below")
    assert str(tmp_path / "file") in str(caught.value)


async def test_an_unknown_optimization_is_said_to_be_unknown(bus: Bus, tmp_path: Path) -> None:
    for identity in ("o-nobody", "last"):
        with pytest.raises(RequestError):
            await write_report(bus, identity, tmp_path)
