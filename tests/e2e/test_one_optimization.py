"""One optimization from a client's bytes to a kernel's scheduler, on real lab hosts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import nats
import pytest

from shared.bus import Bus
from shared.bus.credentials import Credentials
from shared.messages import Budget, OptimizeRequest, Remembered
from tests.e2e.fleet import (
    Fleet,
    ask,
    facts,
    record,
    scheduler,
    until,
    wait_for_phase,
)

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(1800),
]


async def test_any_nats_client_can_ask(fleet: Fleet) -> None:
    client = await nats.connect(fleet.state.url, **Credentials(key=fleet.key("client")).options())
    try:
        asked = (
            b'{"workload": "pulse", "policies": ["latency"], "hosts": ["lab-1", "lab-2"],'
            b' "budget": {"rounds": 12}}'
        )
        answer = json.loads((await client.request("cox.req.optimize", asked, timeout=30)).data)
    finally:
        await client.close()
    assert answer["accepted"], answer
    async with fleet.bus() as bus:
        state = await wait_for_phase(bus, answer["optimization"], "ended")
        assert state.trace_id == answer["trace_id"]
        assert state.terminal in {"promoted", "kept-default"}, state.reasons
        assert state.trials
        for trial in state.trials:
            assert trial.ended is not None
            assert trial.ended.end in {"completed", "stopped"}
        # The kernels run what the record says, and nothing else.
        for host in ("lab-1", "lab-2"):
            now = await scheduler(bus, host)
            if state.terminal == "promoted":
                assert now.state == "enabled"
                assert now.ours
                assert now.optimization == state.id
                await until(partial(is_sealed, bus, host), 60.0)
            else:
                assert now.state == "disabled"
        remembered = await facts(bus, "learner", "remembered", state.id, Remembered)
        assert len(remembered) == 1


async def is_sealed(bus: Bus, host: str) -> bool:
    """What the judge has promoted there stays, whatever a planner says."""
    return (await scheduler(bus, host)).sealed


async def test_the_report_is_whole_and_the_trace_has_one_root(fleet: Fleet, tmp_path: Path) -> None:
    done = fleet.cox(
        "optimize",
        "pulse",
        "--hosts",
        "lab-1",
        "--rounds",
        "10",
        "--policy",
        "latency",
        "--report",
        str(tmp_path),
    )
    assert done.returncode in {0, 4}, done.stderr + done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    trials = report["trials"]
    assert trials
    assert all(r["baseline"] and r["candidate"] for t in trials for r in t["rounds"])
    assert report["terminal"] in {"promoted", "kept-default"}
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "trace.json").read_text())
    spans = [
        span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    roots = [span for span in spans if not span.get("parentSpanId")]
    assert len(roots) == 1
    ids = {span["spanId"] for span in spans}
    assert all(span["parentSpanId"] in ids for span in spans if span not in roots)
    services = {
        attribute["value"]["stringValue"]
        for resource in document["resourceSpans"]
        for attribute in resource["resource"]["attributes"]
        if attribute["key"] == "service.name"
    }
    assert services == {"observer", "planner", "executor", "learner"}


async def test_a_known_fingerprint_starts_from_what_won(fleet: Fleet) -> None:
    async with fleet.bus() as bus:
        request = OptimizeRequest(workload="pulse", hosts=["lab-1"], budget=Budget(rounds=16))
        first = await ask(bus, request)
        before = await wait_for_phase(bus, first.optimization, "ended")
        again = await ask(bus, request)
        state = await wait_for_phase(bus, again.optimization, "ended")
        assert before.plan is not None
        assert state.plan is not None
        if before.terminal == "promoted":
            assert before.winner is not None
            assert state.plan.recalled
            assert state.plan.screen_pairs == 0
            assert [c.origin for c in state.plan.candidates] == ["recall"]
        else:
            said = " ".join(c.reason for c in state.plan.considered)
            assert "here before" in said


async def test_revert_gives_the_host_back_at_once(fleet: Fleet) -> None:
    assert fleet.cox("revert", "--all").returncode == 0
    async with fleet.bus() as bus:
        for host in ("lab-1", "lab-2"):
            now = await scheduler(bus, host)
            assert now.state == "disabled"
            assert not now.ours


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"workload": "nope"}', "pulse"),
        (b'{"workload": "pulse", "hosts": ["nowhere"]}', "lab-1"),
        (b'{"workload": "pulse", "budget": {"rounds": 3}}', ">= 8"),
        (b'{"workload": "build", "budget": {"seconds": 60}}', "at least"),
        (b'{"workload": "pulse", "polices": ["fair"]}', "polices"),
        (b'{"workload": "pulse", "policies": ["magic"]}', "fair"),
        (b"{not json", "JSON"),
        (b"", "JSON"),
    ],
)
async def test_bad_requests_say_what_was_expected(fleet: Fleet, data: bytes, words: str) -> None:
    client = await nats.connect(fleet.state.url, **Credentials(key=fleet.key("client")).options())
    try:
        answer = json.loads((await client.request("cox.req.optimize", data, timeout=30)).data)
    finally:
        await client.close()
    assert answer["accepted"] is False
    problem = answer["problem"]
    assert words in json.dumps(problem), problem
    assert problem["expected"]
    assert problem["got"]


async def test_a_cancelled_optimization_leaves_the_default(fleet: Fleet) -> None:
    async with fleet.bus() as bus:
        request = OptimizeRequest(
            workload="pulse", policies=["latency"], hosts=["lab-2"], budget=Budget(rounds=40)
        )
        reply = await ask(bus, request)
        await wait_for_phase(bus, reply.optimization, "trying")
        assert fleet.cox("cancel", reply.optimization).returncode == 0
        state = await wait_for_phase(bus, reply.optimization, "ended")
        assert state.terminal == "cancelled"
        now = await scheduler(bus, "lab-2")
        assert now.state == "disabled"
        assert (await record(bus, reply.optimization)).phase == "ended"
