"""One request over hosts of several kinds: an optimization for each, in one trace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from services.planner import accepting
from shared import attributes as names
from shared.bus import Bus
from shared.fingerprint import key
from shared.fleet import CLAIMS, Claims
from shared.messages import OptimizeRequest, Rollout, Selector
from shared.optimization import Optimization
from shared.subjects import Subjects
from shared.telemetry.store import Trace
from tests.planner.paper_fleet import Minds, PaperFleet, working
from tests.planner.world import inventory, opened

SMALL = ["s1", "s2", "s3"]
LARGE = ["x1", "x2"]
ROLLOUT = Rollout(soak_s=0.2, control_percent=0)


@pytest.fixture
async def fleet(bus: Bus) -> AsyncIterator[PaperFleet]:
    fleet = PaperFleet(bus)
    large = (replace(inventory(host), cpus=64) for host in LARGE)
    await fleet.join_as(*map(inventory, SMALL), *large)
    yield fleet
    await fleet.stop()


def request(*hosts: str, **more: object) -> OptimizeRequest:
    return OptimizeRequest(workload="pulse", hosts=list(hosts), rollout=ROLLOUT, **more)  # type: ignore[arg-type]


async def records(minds: Minds) -> list[Optimization]:
    found = await (await minds.bus.records("optimizations", Optimization)).all()
    return [record.value for record in found]


async def test_each_kind_has_a_canary_a_rollout_and_an_end_of_its_own(
    minds: Minds, fleet: PaperFleet
) -> None:
    reply = await minds.ask(request())
    assert [part.hosts for part in reply.parts] == [SMALL, LARGE]
    assert (reply.optimization, reply.hosts) == (reply.parts[0].optimization, SMALL)
    assert reply.left_out == {}
    ends = [await minds.end(part.optimization) for part in reply.parts]
    assert [state.terminal for state in ends] == ["promoted", "promoted"]
    assert [state.canary for state in ends] == ["s1", "x1"]
    assert [trial.host for state in ends for trial in state.trials] == ["s1", "x1"]
    kinds = [state.fingerprint.hardware.cpus for state in ends if state.fingerprint]
    assert kinds == [2, 64]
    assert fleet.runs == {
        host: state.id for state in ends for host in (SMALL if state.canary == "s1" else LARGE)
    }
    found = await (await minds.bus.records("fleet", Claims)).get(CLAIMS)
    assert found is not None
    assert found.value == Claims()


async def test_all_is_one_trace_with_one_root_and_a_branch_for_each_kind(
    minds: Minds, fleet: PaperFleet
) -> None:
    reply = await minds.ask(request())
    for part in reply.parts:
        await minds.end(part.optimization)
    spans = sorted(minds.spans, key=lambda span: span.start_unix_ns)
    trace = Trace(reply.trace_id, tuple(spans))
    assert {span.trace_id for span in spans} == {reply.trace_id}
    assert trace.problems() == []
    (root,) = trace.forest().roots
    assert root.span.name == "optimize pulse"
    assert names.OPTIMIZATION_ID not in root.span.attributes
    assert [child.span.name for child in root.children] == ["part 1 of 2", "part 2 of 2"]
    for part, child in zip(reply.parts, root.children, strict=True):
        assert child.span.attributes[names.OPTIMIZATION_ID] == part.optimization
        assert list(child.span.attributes[names.TARGET_HOSTS]) == part.hosts  # type: ignore[arg-type]
        below = {node.span.name for node in child.children}
        assert {"finish promoted", "cohort canary"} <= below
        assert {node.span.attributes[names.OPTIMIZATION_ID] for node in child.children} == {
            part.optimization
        }


async def test_one_kind_s_record_s_request_names_its_own_hosts(
    minds: Minds, fleet: PaperFleet
) -> None:
    reply = await minds.ask(request("x2", "s3", "s1", "x1", "s2"))
    assert [part.hosts for part in reply.parts] == [["s3", "s1", "s2"], ["x2", "x1"]]
    for part in reply.parts:
        state = await minds.end(part.optimization)
        assert state.request.hosts == part.hosts == state.hosts
        assert state.inventories.keys() == set(part.hosts)


async def test_one_kind_is_one_part_and_lives_below_the_root(
    minds: Minds, fleet: PaperFleet
) -> None:
    reply = await minds.ask(request(*LARGE))
    (part,) = reply.parts
    assert (part.optimization, part.hosts) == (reply.optimization, LARGE)
    await minds.end(part.optimization)
    (root,) = [span for span in minds.spans if not span.parent_id]
    assert root.attributes[names.OPTIMIZATION_ID] == reply.optimization
    assert not [span for span in minds.spans if span.name.startswith("part")]


async def test_a_host_that_falls_takes_back_its_own_kind_alone(
    minds: Minds, fleet: PaperFleet
) -> None:
    fleet.unconfirmed.add("s3")
    reply = await minds.ask(request())
    small, large = [await minds.end(part.optimization) for part in reply.parts]
    assert (small.terminal, large.terminal) == ("failed", "promoted")
    assert fleet.runs == dict.fromkeys(LARGE, large.id)


async def test_one_kind_waits_while_another_begins(minds: Minds, fleet: PaperFleet) -> None:
    fleet.hold_trials.clear()
    first = await minds.ask(request(*LARGE))
    reply = await minds.ask(request())
    assert [part.hosts for part in reply.parts] == [SMALL, LARGE]
    assert reply.parts[0].waits == reply.waits == ""
    assert reply.parts[1].waits == f"{first.optimization} works on x1"
    fleet.hold_trials.set()
    for part in reply.parts:
        assert (await minds.end(part.optimization)).terminal == "promoted"


async def test_a_reply_names_some_of_those_that_are_left_out(
    minds: Minds, fleet: PaperFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MOST_LEFT_OUT", 2)
    old = replace(inventory("old"), sched_ext=False, obstacles=["no sched_ext"])
    await fleet.join_as(*(replace(old, host=f"old{number}") for number in range(5)))
    reply = await minds.ask(request())
    assert (len(reply.left_out), reply.left_out_more) == (2, 3)
    for part in reply.parts:
        await minds.end(part.optimization)


async def test_what_has_ended_keeps_no_host_from_the_next_request(
    minds: Minds, fleet: PaperFleet
) -> None:
    first = await minds.end((await minds.ask(request("x2"))).optimization)
    # As when a planner dies, or is slow, between its last word on one and giving back its claims.
    claims = await minds.bus.records("fleet", Claims)
    async for record in claims.watch(CLAIMS):
        if record.value == Claims():
            await claims.replace(record, Claims(hosts={"x2": first.id}, canaries=[first.id]))
            break
    reply = await minds.ask(request())
    assert [part.hosts for part in reply.parts] == [SMALL, LARGE]
    assert [part.waits for part in reply.parts] == ["", ""]
    for part in reply.parts:
        await minds.end(part.optimization)


async def test_a_fingerprint_that_was_seen_selects_its_kind(
    minds: Minds, fleet: PaperFleet
) -> None:
    first = await minds.end((await minds.ask(request("x2"))).optimization)
    assert first.fingerprint is not None
    selected = Selector(fingerprint=key(first.fingerprint))
    reply = await minds.ask(request(select=selected))
    assert [part.hosts for part in reply.parts] == [LARGE]
    assert reply.left_out.keys() == set(SMALL)
    await minds.end(reply.optimization)
    unknown = await minds.ask(request(select=Selector(fingerprint="0" * 16)))
    assert unknown.problem is not None
    assert unknown.problem.kind == "RequestError"
    assert "cox optimizations" in unknown.problem.advice


async def test_who_does_not_wait_is_refused_where_one_kind_is_busy(
    minds: Minds, fleet: PaperFleet
) -> None:
    fleet.hold_trials.clear()
    first = await minds.ask(request("x2"))
    reply = await minds.ask(request(*SMALL, *LARGE, wait=False))
    assert not reply.accepted
    assert reply.problem is not None
    assert "host x2 is busy" in reply.problem.what
    assert [state.id for state in await records(minds)] == [first.optimization]
    fleet.hold_trials.set()
    await minds.end(first.optimization)


async def test_who_does_not_wait_has_all_kinds_at_once_or_none(
    nats_url: str, subjects: Subjects, fleet: PaperFleet
) -> None:
    fleet.hold_trials.clear()
    async with working(nats_url, subjects, most_canaries=1) as minds:
        reply = await minds.ask(request(wait=False))
        assert reply.problem is not None
        assert "canaries are live" in reply.problem.got
        states = await records(minds)
        assert len(states) == 2
        for state in states:
            assert (await minds.end(state.id)).terminal == "cancelled"
    assert not fleet.runs


async def test_where_one_record_cannot_be_written_none_goes_on(
    minds: Minds, fleet: PaperFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "new_ids", lambda _now, _count: ["o-one", "o-two"])
    taken = replace(opened(), id="o-two", phase="ended", terminal="failed", outbox=[])
    await (await minds.bus.records("optimizations", Optimization)).put("o-two", taken)
    reply = await minds.ask(request())
    assert not reply.accepted
    assert reply.problem is not None
    assert "o-two exists already" in reply.problem.what
    state = await minds.end("o-one")
    assert state.terminal == "cancelled"
    assert "another part of its request failed" in state.reasons[0]
    assert not fleet.runs
    assert (await minds.record("o-two")).hosts == taken.hosts
