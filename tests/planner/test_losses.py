"""What a planner makes of streams and buckets that somebody deletes while optimizations go on."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from services.planner import astray
from services.planner.claims import claims_of, holds
from services.planner.machine.planning import PLAN_S
from services.planner.minds import Question
from shared.bus import Bus, connect
from shared.bus.provision import provision, provision_host
from shared.bus.server import NatsServer
from shared.errors import BusError
from shared.fleet import CLAIMS, Claims
from shared.messages import (
    DeployCommand,
    Ended,
    FreezeRequest,
    Inventory,
    OptimizeReply,
    OptimizeRequest,
    Plan,
    Reply,
    Rollout,
    decode,
)
from shared.metrics import declared
from shared.optimization import Optimization
from shared.policies import Catalogue
from shared.subjects import Subjects
from tests.eventually import eventually
from tests.planner.paper_fleet import FLEET, Minds, PaperFleet, working
from tests.planner.world import artifact, opened


def request(*hosts: str, **more: object) -> OptimizeRequest:
    rollout = Rollout(soak_s=0.2, control_percent=0)
    return OptimizeRequest(workload="pulse", hosts=list(hosts), rollout=rollout, **more)  # type: ignore[arg-type]


async def in_trial(minds: Minds, fleet: PaperFleet, *hosts: str) -> OptimizeReply:
    """An optimization whose trial has been measured and does not end."""
    fleet.hold_trials.clear()
    reply = await minds.ask(request(*hosts))
    assert reply.accepted, reply.problem
    await minds.until(
        reply.optimization, lambda state: state.phase == "trying" and state.trials[-1].pairs
    )
    return reply


async def accepted(minds: Minds, wanted: OptimizeRequest) -> OptimizeReply:
    """Once it is: a planner may not have seen yet that all is there again."""
    async with asyncio.timeout(60):
        while not (reply := await minds.ask(wanted)).accepted:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.1)
    return reply


async def ends(bus: Bus, identity: str) -> list[Ended]:
    subject = bus.subjects.events("planner", "ended", identity)
    return [decode(data, Ended) async for _, data in bus.history("EVENTS", subject)]


async def over(bus: Bus, identity: str) -> Optimization:
    """Its record once it is over, in whatever bucket there is."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(BusError):
                found = await (await bus.records("optimizations", Optimization)).get(identity)
                if found is not None and found.value.over and not found.value.outbox:
                    return found.value
            await asyncio.sleep(0.05)


async def test_nothing_is_promoted_whose_evidence_was_lost(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    """I8, though the judge had clearly spoken for it."""
    reply = await in_trial(minds, fleet, "h1", "h2")
    await minds.until(reply.optimization, lambda state: state.trials[-1].decision is not None)
    await bus.js.delete_stream(bus.subjects.stream("EVENTS"))
    await provision(bus.js, bus.subjects)
    state = await over(bus, reply.optimization)
    fleet.hold_trials.set()
    assert state.terminal == "failed"
    assert "made anew" in state.reasons[0]
    assert [end.terminal for end in await ends(bus, state.id)] == ["failed"]
    await eventually(lambda: not fleet.runs)
    # The next one has evidence of its own.
    again = await accepted(minds, request("h1", "h2"))
    assert (await minds.end(again.optimization)).terminal == "promoted"


async def test_an_optimization_whose_record_was_lost_ends_once(
    bus: Bus, nats_url: str, minds: Minds, fleet: PaperFleet
) -> None:
    """Also with two planners that both know it."""
    async with working(nats_url, bus.subjects):
        reply = await in_trial(minds, fleet, "h1", "h2")
        await bus.js.delete_key_value(bus.subjects.bucket("optimizations"))
        await provision(bus.js, bus.subjects)
        state = await over(bus, reply.optimization)
        fleet.hold_trials.set()
        assert state.terminal == "failed"
        assert state.reasons == ["its record was lost from the bus"]
        assert [end.terminal for end in await ends(bus, state.id)] == ["failed"]
        # Its hosts are free.
        again = await accepted(minds, request("h1", "h2", wait=False))
        assert (await minds.end(again.optimization)).terminal == "promoted"
        assert [end.terminal for end in await ends(bus, state.id)] == ["failed"]


async def test_claims_that_were_lost_hold_still(bus: Bus, minds: Minds, fleet: PaperFleet) -> None:
    reply = await in_trial(minds, fleet, "h1")
    first = await minds.record(reply.optimization)
    await bus.js.delete_key_value(bus.subjects.bucket("fleet"))
    await provision(bus.js, bus.subjects)
    second = await accepted(minds, request("h1"))
    assert second.waits == f"{first.id} works on h1"
    third = await accepted(minds, request("h2"))
    assert third.waits == ""
    record = await (await bus.records("fleet", Claims)).get(CLAIMS)
    assert record is not None
    assert set(record.value.canaries) == {first.id, third.optimization}
    fleet.hold_trials.set()
    one, two, three = [await minds.end(each.optimization) for each in (reply, second, third)]
    assert {one.terminal, two.terminal, three.terminal} == {"promoted"}
    # Hosts have seen the first token: a smaller one would be an earlier owner's.
    assert two.fence > three.fence > one.fence


def test_claims_are_what_has_begun() -> None:
    trying = opened(hosts=("h1", "h2"))
    assert trying.phase == "profiling"
    assert claims_of([trying]) == Claims(
        hosts={"h1": trying.id, "h2": trying.id}, canaries=[trying.id]
    )
    assert holds(claims_of([trying]), trying)


async def freeze(bus: Bus) -> None:
    subject = bus.subjects.endpoint("planner", "freeze")
    await bus.ask(subject, FreezeRequest(frozen=True, reason="no"), Reply, timeout_s=30)


async def test_an_order_to_stand_still_outlives_its_record(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    await freeze(bus)
    await bus.js.delete_key_value(bus.subjects.bucket("fleet"))
    await provision(bus.js, bus.subjects)
    reply = await accepted(minds, request("h1"))
    assert reply.waits == "the fleet is frozen: no"


async def test_where_nobody_knows_the_orders_any_more_nothing_begins(
    bus: Bus, nats_url: str, fleet: PaperFleet
) -> None:
    async with working(nats_url, bus.subjects) as minds:
        reply = await minds.ask(request("h1"))
        await minds.end(reply.optimization)
    await bus.js.delete_key_value(bus.subjects.bucket("fleet"))
    await provision(bus.js, bus.subjects)
    async with working(nats_url, bus.subjects) as minds:
        reply = await accepted(minds, request("h1"))
        assert "was lost from the bus" in reply.waits


async def test_while_something_is_gone_nobody_is_accepted(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    await bus.js.delete_stream(bus.subjects.stream("EVENTS"))
    await eventually(lambda: minds.bus.footing.lost)
    reply = await minds.ask(request("h1"))
    assert not reply.accepted
    assert reply.problem is not None
    assert reply.problem.kind == "GoneError"
    assert await (await bus.records("optimizations", Optimization)).all() == []
    await provision(bus.js, bus.subjects)
    await eventually(lambda: not minds.bus.footing.lost)
    reply = await accepted(minds, request("h1"))
    assert (await minds.end(reply.optimization)).terminal == "promoted"


async def test_a_queue_of_commands_that_was_made_anew_has_none_of_them_twice(
    bus: Bus, minds: Minds, fleet: PaperFleet
) -> None:
    reply = await in_trial(minds, fleet, "h1")
    await bus.js.delete_stream(bus.subjects.stream("COMMANDS", "h1"))
    await provision_host(bus.js, bus.subjects, "h1")
    fleet.hold_trials.set()
    state = await minds.end(reply.optimization)
    assert state.terminal == "promoted"
    assert len(fleet.trials) == 1
    assert fleet.runs == {"h1": state.id}


class Thoughtful:
    """A mind that comes to no end."""

    name = "thoughtful"

    async def plan(self, _question: Question) -> Plan:
        await asyncio.Event().wait()
        raise AssertionError


async def test_whose_order_to_plan_was_lost_ends_at_once(
    bus: Bus, nats_url: str, subjects: Subjects, fleet: PaperFleet
) -> None:
    """Its deadline would be minutes away."""
    async with working(nats_url, subjects, mind=Thoughtful()) as minds:
        reply = await minds.ask(request("h1"))
        await minds.until(reply.optimization, lambda state: state.plans_asked)
        await bus.js.delete_stream(subjects.stream("COMMANDS"))
        await provision(bus.js, subjects)
        async with asyncio.timeout(PLAN_S / 2):
            state = await over(bus, reply.optimization)
    assert state.terminal == "failed"
    assert "stream of commands was deleted" in state.reasons[0]


async def test_a_host_that_never_heard_that_it_must_go_back_hears_it_again(
    bus: Bus, nats_url: str, subjects: Subjects, fleet: PaperFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order was lost with its stream. Who keeps what nobody knows is shown."""
    monkeypatch.setattr(astray, "SETTLED_NS", 0)
    monkeypatch.setattr(astray, "LOOK_S", 0.1)
    fleet.unconfirmed.add("h1")
    async with working(nats_url, subjects) as minds:
        reply = await minds.ask(request("h1"))
        state = await minds.end(reply.optimization)
        assert state.terminal == "failed"
        await eventually(lambda: not fleet.runs)
        for host, identity in (("h1", state.id), ("h2", "o-of-nobody")):
            await fleet._deploy(host, kept(identity))
        await eventually(lambda: "h1" not in fleet.runs)
        await eventually(lambda: minds.metrics.value(declared.UNACCOUNTED) == 1)
        assert fleet.runs == {"h2": "o-of-nobody"}


def kept(identity: str) -> DeployCommand:
    return DeployCommand(
        optimization=identity,
        policy="latency",
        version="1.0.0",
        parameters=Catalogue.load()["latency"].manifest.defaults,
        artifact=artifact("latency"),
    )


def judged(state: Optimization) -> bool:
    trial = state.trials[-1]
    return trial.judged is not None and trial.judged.pairs == trial.spec.max_pairs


async def test_a_store_that_is_lost_as_a_whole_ends_what_was_under_way(tmp_path: Path) -> None:
    subjects = Subjects("whole")
    with NatsServer(tmp_path / "nats") as server:
        bus = await connect(server.url, subjects, "test", patience_s=10)
        await provision(bus.js, subjects)
        fleet = PaperFleet(bus)
        await fleet.join(*FLEET)
        async with working(server.url, subjects) as minds:
            reply = await in_trial(minds, fleet, "h1", "h2")
            # No thread judges while this process forks: what it held would be held in the child.
            before = await minds.until(reply.optimization, judged)
            server.kill()
            (tmp_path / "nats" / "jetstream").rename(tmp_path / "lost")
            server.start()
            await eventually(lambda: minds.bus.footing.lost)
            await provision(bus.js, subjects)
            inventories = await bus.records("hosts", Inventory)
            for host in FLEET:
                await provision_host(bus.js, subjects, host)
                await inventories.put(f"{host}.inventory", fleet._hosts[host])
            state = await over(bus, reply.optimization)
            assert state.terminal == "failed"
            assert [end.terminal for end in await ends(bus, state.id)] == ["failed"]
            fleet.hold_trials.set()
            await eventually(lambda: not minds.bus.footing.lost)
            again = await accepted(minds, request("h1", "h2"))
            after = await minds.end(again.optimization)
            assert after.terminal == "promoted", after.reasons
            assert after.fence > before.fence
        await fleet.stop()
        await bus.close()
