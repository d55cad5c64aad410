from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from shared.telemetry import configure_logging, start_telemetry


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_json_lines_go_to_stderr_with_who_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("executor", json=True, host="lab-1")

    structlog.get_logger().info("trial.round_measured", ratio=0.97, path=object)

    (line,) = lines(capsys)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["event"] == "trial.round_measured"
    assert (line["level"], line["service"], line["host"]) == ("info", "executor", "lab-1")
    assert line["ratio"] == 0.97
    assert line["time"].endswith("Z")
    assert "trace_id" not in line


def test_lines_inside_a_span_carry_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("planner", json=True)

    with start_telemetry("planner", publish=None).span("plan") as span:
        structlog.get_logger().info("plan.made")
        logging.getLogger("nats").warning("slow %s", "consumer")

    ours, theirs = lines(capsys)
    assert (ours["trace_id"], ours["span_id"]) == (span.trace_id, span.span_id)
    assert (theirs["trace_id"], theirs["span_id"]) == (span.trace_id, span.span_id)
    assert (theirs["event"], theirs["logger"]) == ("slow consumer", "nats")


def test_an_exception_is_text_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("planner", json=True)
    password = "hunter" + "2"

    try:
        {}[len(password)]
    except KeyError:
        structlog.get_logger().exception("plan.failed")

    (line,) = lines(capsys)
    assert "KeyError: 7" in line["exception"]
    assert "hunter2" not in json.dumps(line)


def test_chatter_stays_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("planner", json=True)

    structlog.get_logger().debug("plan.detail")
    logging.getLogger("asyncio").info("using selector")

    assert lines(capsys) == []


def test_people_get_a_line_they_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("planner", json=False)

    structlog.get_logger().warning("plan.made", policies=3)

    text = capsys.readouterr().err
    assert "plan.made" in text
    assert "policies" in text
    assert "\x1b" not in text  # captured, so not a terminal
