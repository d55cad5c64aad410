"""A story in which somebody deletes from the bus, and what must hold all the same.

What was in a stream is lost, so not all that invariants look for can be there. What excuses them is
said here, one by one: a fact that was kept before, and no other.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Container, Iterator
from typing import Literal, get_args

import msgspec

from shared.bus import Bus
from shared.bus.away import AWAY
from shared.bus.upkeep import Upkeep
from shared.optimization import Optimization
from tests.chaos.history import History
from tests.chaos.invariants import Violation, violations
from tests.chaos.siege import NATS, Siege
from tests.chaos.story import Ask, Lose, Story, story

What = Literal["events", "commands", "consumers", "records", "store"]
LOSSES: tuple[What, ...] = get_args(What)
FIRST_S, LAST_S = 1.0, 12.0
"""An optimization takes some 12 s: the loss is somewhere in it."""


NOTICING: dict[What, tuple[str, ...]] = {
    "events": ("planner-0", "planner-1", "learner-0"),
    "commands": ("planner-0", "planner-1", "learner-0", "gate-0"),
    "consumers": ("planner-0", "planner-1", "learner-0", "gate-0"),
    "records": ("planner-0", "planner-1", "gate-0"),
    "store": ("planner-0", "planner-1", "learner-0", "gate-0"),
}
"""Who must tell in his log. Simulated hosts log nothing: `tests/executor/host` hears one."""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody deleted, and from when on there was a new one."""

    what: What
    by_unix_ns: int
    over: list[str]
    """Optimizations that were over before."""
    first_event: int
    """The number of the first fact that the stream of events that is there now has ever had."""

    @property
    def events(self) -> bool:
        """Whether facts are gone."""
        return self.what in {"events", "store"}

    @property
    def records(self) -> bool:
        """Whether records are gone."""
        return self.what in {"records", "store"}


def losing(what: What, seed: int) -> Story:
    """A seed's requests, without its faults, and one loss somewhere in the middle of them."""
    told = story(seed)
    share = (seed * 7919 + LOSSES.index(what) * 104729) % 1000 / 1000
    lose = Lose(at_s=round(FIRST_S + share * (LAST_S - FIRST_S), 2), what=what, for_s=3.0)
    asks = [msgspec.structs.replace(ask, stop_first=False) for ask in told.asks]
    steps: list[Ask | Lose] = sorted([*asks, lose], key=lambda step: step.at_s)
    return msgspec.structs.replace(told, steps=steps, late=[])


async def lose(siege: Siege, step: Lose, ack_wait_s: float) -> Lost:
    """Delete it; some seconds later whoever runs the bus makes it again, empty."""
    over = await _over(siege.bus)
    if step.what == "store":
        await siege.die(NATS)
        await asyncio.to_thread(shutil.rmtree, siege.home / "nats" / "jetstream")
        await siege.rise(NATS)
    else:
        await _delete(siege.bus, step.what)
    await asyncio.sleep(step.for_s)
    while True:
        try:
            await Upkeep(siege.bus).look(siege.hosts)
            await siege.hurry(ack_wait_s)
            events = siege.bus.subjects.stream("EVENTS")
            first = (await siege.bus.js.stream_info(events)).config.first_seq or 0
        except AWAY:
            await asyncio.sleep(0.2)
        else:
            return Lost(
                what=step.what,  # type: ignore[arg-type]
                by_unix_ns=time.time_ns(),
                over=over,
                first_event=first,
            )


async def _over(bus: Bus) -> list[str]:
    """Optimizations that are over, and have nothing to say any more."""
    records = await (await bus.records("optimizations", Optimization)).all()
    return [each.key for each in records if each.value.over and not each.value.outbox]


async def _delete(bus: Bus, what: str) -> None:
    js, subjects = bus.js, bus.subjects
    names = [info.config.name or "" for info in await js.streams_info()]
    match what:
        case "events":
            await js.delete_stream(subjects.stream("EVENTS"))
        case "commands":
            for name in names:
                if subjects.stream_kind(name) == "COMMANDS":
                    await js.delete_stream(name)
        case "consumers":
            for name in names:
                for found in await js.consumers_info(name):
                    if found.config.durable_name:
                        await js.delete_consumer(name, found.config.durable_name)
        case _:
            for bucket in ("optimizations", "fleet", "hosts"):
                await js.delete_key_value(subjects.bucket(bucket))  # type: ignore[arg-type]


def unsettled(siege: Siege, lost: Lost, there: Container[str], promised: list[str]) -> list[str]:
    """What the loss has still to bring about: being told of, and records that are written again."""
    silent = [f"{part} has not told" for part in NOTICING[lost.what] if not siege.has_told(part)]
    missing = [each for each in promised if each not in there and each not in lost.over]
    return [*silent, *(f"{each} has no record yet" for each in missing)]


def unexcused(history: History, lost: Lost) -> Iterator[Violation]:
    """Violations that the loss does not explain."""
    for each in violations(history):
        if not _excused(each, history, lost):
            yield each


def _excused(violation: Violation, history: History, lost: Lost) -> bool:
    text = violation.text
    record = next((r for r in history.records.values() if r.id in text), None)
    ended = record is not None and 0 < record.ended_unix_ns <= lost.by_unix_ns
    match violation.invariant:
        case "I6" if lost.events:
            return int(re.findall(r"fact (\d+) ", text)[0]) < lost.first_event
        case "I8" if lost.events:
            return ended  # it was measured and judged before
        case "I5" if lost.events and record is not None and "told to be accepted 0" in text:
            return record.created_unix_ns <= lost.by_unix_ns
        case "I5" if lost.events and text.endswith("told to be []"):
            return ended
        case "I5" if lost.records and "there is no record" in text:
            # Those that were not over are written again.
            return text.partition(" ")[0] in lost.over
        case "I7" if lost.records or lost.events:
            # It was promoted before, and there its host keeps it: `host.unaccounted`.
            return "was promoted there last" in text and "nothing runs" not in text
        case "I2" if lost.what == "store":
            return "for a request that nobody has sent" in text  # the gate has seen it before
        case _:
            return False
