from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.tree import TraceTree, duration
from shared import attributes as names
from shared.telemetry.otlp_json import encode
from shared.telemetry.records import EventRecord, LinkRecord, SpanRecord, Status, Value
from shared.telemetry.store import read_trace

SECOND = 10**9


def span(
    number: int,
    name: str,
    parent: int = 1,
    *,
    start_s: float = 0.0,
    end_s: float = 10.0,
    service: str = "planner",
    host: str = "",
    attributes: dict[str, Value] | None = None,
    events: tuple[EventRecord, ...] = (),
    links: tuple[LinkRecord, ...] = (),
    error: str = "",
) -> SpanRecord:
    resource: dict[str, Value] = {names.SERVICE_NAME: service}
    if host:
        resource[names.HOST_NAME] = host
    return SpanRecord(
        trace_id="a" * 32,
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        start_unix_ns=1_700_000_000 * SECOND + int(start_s * SECOND),
        end_unix_ns=1_700_000_000 * SECOND + int(end_s * SECOND),
        attributes=attributes or {},
        events=events,
        links=links,
        status=Status.ERROR if error else Status.UNSET,
        status_text=error,
        resource=resource,
    )


ROOT = span(1, "optimize wakeup", 0, end_s=0.001, attributes={names.OPTIMIZATION_ID: "opt-1"})


PICTURE = """
optimize wakeup  →  promoted
trace aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  ·  optimization opt-1  ·  6 spans  ·  10.0 s
■ planner  ■ observer  ■ executor

                                                           0 ────────────→ 10.0 s     took
● optimize wakeup                     planner              ▏                        1.0 ms
├── ● observe                         observer@lab-1       ███████████               5.0 s
├── ● plan                            planner              ╶╶╶╶╶╶╶╶╶╶╶▏              20 ms
│     why short threads wait behind hogs
│     considered · fair 0.4: too plain
│                · fifo 0.1: a reference
│     predicted.ratio 0.45 [0.3, 0.7]
├── ● trial                           executor@lab-1       ╶╶╶╶╶╶╶╶╶╶╶██████████▋    4.8 s
│   └── ● round                       executor@lab-1       ╶╶╶╶╶╶╶╶╶╶╶╶╶████▌        2.0 s
└── ● finish                          planner              ╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶╶▏  <0.1 ms
      optimization.terminal promoted
"""


def draw(*spans: SpanRecord, width: int = 100, everything: bool = False) -> list[str]:
    out = io.StringIO()
    trace = read_trace([encode(spans)])
    Console(file=out, width=width).print(TraceTree(trace, everything=everything))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


def line_of(lines: list[str], text: str) -> str:
    (line,) = (line for line in lines if text in line)
    return line


def test_a_whole_trace_at_a_glance() -> None:
    lines = draw(
        ROOT,
        span(2, "observe", start_s=0, end_s=5, service="observer", host="lab-1"),
        span(
            3,
            "plan",
            start_s=5,
            end_s=5.02,
            attributes={
                names.OPTIMIZATION_ID: "opt-1",
                names.DECISION_WHY: "short threads wait behind hogs",
                names.DECISION_CONSIDERED: ["fair 0.4: too plain", "fifo 0.1: a reference"],
                names.PREDICTED_RATIO: 0.45,
                names.PREDICTED_LOW: 0.3,
                names.PREDICTED_HIGH: 0.7,
            },
        ),
        span(4, "trial", start_s=5.1, end_s=9.9, service="executor", host="lab-1"),
        span(5, "round", 4, start_s=6, end_s=8, service="executor", host="lab-1"),
        span(6, "finish", start_s=10, attributes={names.OPTIMIZATION_TERMINAL: "promoted"}),
        width=90,
    )

    assert "\n".join(lines) == PICTURE.strip("\n")


def test_orphans_and_missing_roots_are_loud() -> None:
    lines = draw(span(3, "trial", 2), span(4, "round", 3))

    assert lines[0] == "a trace without its root"
    assert "⚠ expected one root, got 0" in lines
    assert any(line.startswith("⚠ 1 orphan:") for line in lines)
    after = lines[lines.index("⚠ orphans: their parent is not in this trace") :]
    assert "● trial" in after[1]
    assert "└── ● round" in after[2]


def test_errors_rejections_and_links_are_marked() -> None:
    lines = draw(
        ROOT,
        span(
            2,
            "measure",
            error="no number; got nothing",
            attributes={names.ERROR_TYPE: "WorkloadError"},
            events=(
                EventRecord(
                    name="exception",
                    unix_ns=1_700_000_001 * SECOND,
                    attributes={names.EXCEPTION_MESSAGE: "no number; got nothing"},
                ),
            ),
        ),
        span(3, "build", attributes={names.OUTCOME: "rejected", names.GATE_REASONS: ["call 109"]}),
        span(4, "plan", links=(LinkRecord(trace_id="b" * 32, span_id="c" * 16),)),
    )

    assert "✗ measure" in line_of(lines, "measure")
    assert sum("no number" in line for line in lines) == 1
    assert "WorkloadError no number; got nothing" in line_of(lines, "no number")
    assert "⊘ build  rejected" in line_of(lines, "build")
    assert "reasons · call 109" in line_of(lines, "call 109")
    assert "linked with span cccccccccccccccc" in line_of(lines, "linked")


def test_of_many_events_the_first_and_last_are_shown_or_all() -> None:
    events = tuple(
        EventRecord(
            name="round.measured",
            unix_ns=(1_700_000_000 + number) * SECOND,
            attributes={names.ROUND_INDEX: number},
        )
        for number in range(9)
    )

    few = draw(ROOT, span(2, "trial", events=events))
    every = draw(ROOT, span(2, "trial", events=events), everything=True)

    assert [line.split()[-1] for line in few if "round.measured" in line] == list("01278")
    assert "… 4 more events" in line_of(few, "more events")
    assert "+8.0 s" in line_of(few, "round.index 8")
    assert sum("round.measured" in line for line in every) == 9


def test_what_strangers_wrote_is_shown_and_never_obeyed() -> None:
    text = "\x1b[2J\x07wiped\x9b31m [bold red]styled[/] \u202etxet\nnext :smile:"

    out = io.StringIO()
    trace = read_trace(
        [
            encode(
                [
                    ROOT,
                    span(
                        2,
                        f"plan {text}",
                        service=text,
                        host=text,
                        error=text,
                        attributes={names.DECISION_WHY: text, f"key {text}": [text]},
                        events=(EventRecord(name=text, unix_ns=0, attributes={text: text}),),
                    ),
                ]
            )
        ]
    )
    Console(file=out, width=300).print(TraceTree(trace))
    shown = out.getvalue()

    assert not set("\x1b\x07\x9b\u202e") & set(shown)
    assert "[bold red]styled[/]" in shown
    assert ":smile:" in shown


def test_values_are_short_and_keep_their_units() -> None:
    lines = draw(
        ROOT,
        span(
            2,
            "deploy",
            attributes={
                names.SCHEDULER_GAP_NS: 41_000_000,
                names.ARTIFACT_SHA256: "9f2b" * 16,
                names.RATIO: 0.123456789,
                names.ARTIFACT_CACHED: True,
            },
        ),
    )

    assert (
        "scheduler.gap 41 ms  artifact.sha256 9f2b9f2b9f2b…  ratio 0.1235  artifact.cached true"
        in line_of(lines, "scheduler")
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_it_fits_any_width(width: int) -> None:
    why = "because " * 40
    lines = draw(
        ROOT,
        *(
            span(number, "trial", number - 1, attributes={names.DECISION_WHY: why})
            for number in range(2, 8)
        ),
        width=width,
    )

    assert any("trial" in line for line in lines)


def test_clocks_that_disagree_are_drawn_within_the_bar() -> None:
    lines = draw(
        ROOT,
        span(2, "observe", start_s=-3, end_s=2, service="observer"),
        span(3, "trial", start_s=9, end_s=8, service="executor"),
    )

    assert "<0.1 ms" in line_of(lines, "trial")


def test_no_depth_hides_a_span() -> None:
    lines = draw(ROOT, *(span(number, "round", number - 1) for number in range(2, 202)), width=80)

    assert sum("round" in line for line in lines) == 200
    assert sum("↳" in line for line in lines) > 180


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "<0.1 ms"),
        (800_000, "0.8 ms"),
        (12_345_678, "12 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.0 s"),
        (59_940_000_000, "59.9 s"),
        (59_960_000_000, "1m 00s"),
        (3_599_600_000_000, "1h 00m"),
        (8_100_000_000_000, "2h 15m"),
    ],
)
def test_durations_read_well(ns: int, text: str) -> None:
    assert duration(ns) == text


def test_a_trace_of_several_optimizations_names_each_where_it_begins() -> None:
    ids = ("opt-a", "opt-b")
    spans = [span(1, "optimize wakeup", 0, end_s=0.001)]
    for number, identity in enumerate(ids, 1):
        own: dict[str, Value] = {names.OPTIMIZATION_ID: identity}
        ends: dict[str, Value] = {**own, names.OPTIMIZATION_TERMINAL: "promoted"}
        spans += [
            span(10 * number, f"part {number} of 2", end_s=0.001, attributes=own),
            span(10 * number + 1, "finish", 10 * number, start_s=10, attributes=ends),
        ]
    lines = draw(*spans)
    assert lines[0] == "optimize wakeup  →  promoted, promoted"
    assert "optimizations opt-a, opt-b" in lines[1]
    for number, identity in enumerate(ids, 1):
        below = lines[lines.index(line_of(lines, f"part {number} of 2")) + 1]
        assert below.split()[-2:] == ["optimization", identity]
