from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path

from rich.console import Console

from cli.follow.facts import Fact, follow
from cli.follow.follower import Follower
from cli.follow.life import Life
from cli.follow.narrate import Narrator
from cli.follow.views import labelled
from shared.bus import Bus, connect
from shared.bus.provision import provision
from shared.bus.server import NatsServer
from shared.optimization import Optimization
from shared.subjects import Subjects
from tests.cli.recorded import Recorded, crowded, optimization, rejected
from tests.eventually import eventually


class Heard:
    """A view that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.links: list[bool] = []
        self.said: list[str] = []

    def fact(self, fact: Fact, _life: Life, _record: Optimization | None) -> None:
        self.names.append(fact.name)

    def say(self, text: str, _style: str = "") -> None:
        self.said.append(text)

    def link(self, *, connected: bool) -> None:
        self.links.append(connected)


async def facts_of(bus: Bus, recorded: Recorded) -> list[Fact]:
    found: list[Fact] = []
    async with asyncio.timeout(30), contextlib.aclosing(follow(bus, recorded.record.id)) as facts:
        async for fact in facts:
            if isinstance(fact, Fact):
                found.append(fact)
                if fact.name == "ended":
                    break
    return found


async def test_what_happened_before_and_after_is_told_once_and_in_order(bus: Bus) -> None:
    recorded = optimization()
    await recorded.publish(bus, until=6)
    following = asyncio.create_task(facts_of(bus, recorded))
    await recorded.publish(bus, since=6)
    facts = await following
    assert [(f.service, f.name, f.message) for f in facts] == recorded.events


async def test_other_optimizations_are_not_heard(bus: Bus) -> None:
    mine, other = optimization(), rejected()
    await other.publish(bus)
    await mine.publish(bus)
    assert len(await facts_of(bus, mine)) == len(mine.events)


async def test_a_server_that_dies_and_comes_back_costs_no_event(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    bus = await connect(server.url, Subjects(f"t-{uuid.uuid4().hex[:8]}"), "test", patience_s=10)
    try:
        await provision(bus.js, bus.subjects)
        recorded = optimization()
        await recorded.publish(bus, until=8)
        view = Heard()
        follower = Follower(bus, recorded.record.id, view)
        following = asyncio.create_task(follower.run())
        async with asyncio.timeout(60):
            await eventually(lambda: len(view.names) == 8)
            server.kill()
            await eventually(lambda: view.links)
            server.start()
            await recorded.publish(bus, since=8)
            await following
        assert view.links[:2] == [False, True]
        assert view.names == [name for _, name, _ in recorded.events]
        assert follower.life.ended is not None
        assert follower.record == recorded.record
    finally:
        await bus.close()
        server.stop()


async def test_an_end_whose_event_was_lost_is_found_in_the_record(bus: Bus) -> None:
    recorded = optimization()
    quiet = Recorded(recorded.record, recorded.events[:-1])
    await quiet.publish(bus)
    follower = Follower(bus, recorded.record.id, Heard())
    await asyncio.wait_for(follower.run(), 30)
    assert follower.record is not None
    assert follower.record.terminal == "promoted"


def told(recorded: Recorded, *, width: int = 120, label: str = "") -> str:
    """The lines of a recorded optimization, as text; each with the label in front, if given."""
    life, narrator = Life(), Narrator()
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as captured:
        for number, (service, name, message) in enumerate(recorded.events):
            fact = Fact(service=service, name=name, message=message, unix_ns=0, sequence=number)
            life.take(fact)
            for line in narrator.tell(fact, life, recorded.record):
                console.print(labelled(label, line) if label else line)
    return captured.get()


def test_every_round_is_a_line_with_both_sides_and_where_it_stands() -> None:
    recorded = optimization()
    text = told(recorded)
    rounds = [line for line in text.splitlines() if " → " in line]
    assert len(rounds) == recorded.record.trials[0].pairs
    assert "median" in rounds[-1]
    assert "promote after" in text
    assert "lab-2 runs coxswain_latency" in text


def test_neighbours_are_told_with_their_guardrails_and_the_baseline() -> None:
    text = told(crowded())
    assert "build: lab-1 keeps fair for it, by o0" in text
    assert "guarded: build.builds_per_hour at least 0.952" in text
    assert "compared with fair 1.0.0, which o0 has deployed" in text
    assert "0.950× the kept fair's" in text
    assert "beside" not in told(optimization())


def test_a_rejection_is_told_with_stage_rule_and_line() -> None:
    text = told(rejected())
    assert "proof/calls (line 7): the hook calls helper 36" in text
    assert "rejected" in text


def test_a_verdict_is_not_told_twice() -> None:
    recorded = optimization()
    reason = recorded.record.reasons[0][:40]
    assert told(recorded).count(reason) == 1


def test_a_narrow_terminal_gets_shorter_lines_and_no_broken_ones() -> None:
    lines = told(optimization(), width=72).splitlines()
    assert all(len(line) <= 72 for line in lines)
    assert any("→" in line and "median" in line for line in lines)
