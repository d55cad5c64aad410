"""One seed: the story is played, all come to rest, and what was seen is checked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import Counter
from pathlib import Path
from typing import cast

import msgspec
from msgspec import field

from bench.hosts import ledger
from bench.hosts.agents import host_name
from services.executor.host.books import Books, Entry, Redeemed
from services.executor.host.journal import Journal
from shared.bus.away import AWAY
from shared.bus.stored import stored
from shared.errors import CoxswainError
from shared.messages import (
    Budget,
    CancelRequest,
    OptimizeReply,
    OptimizeRequest,
    Reply,
    Rollout,
    SchedulerState,
    StateRequest,
    StopCommand,
)
from shared.optimization import Optimization
from shared.tasks import end
from tests.chaos.history import Book, Event, History, Record, Said
from tests.chaos.invariants import Violation, violations
from tests.chaos.losing import Lost, lose, unexcused, unsettled
from tests.chaos.siege import Siege
from tests.chaos.story import Ask, Cut, Halt, Kill, Lose, Repeat, Shift, Starve, Step, Story, story
from tests.chaos.tap import Tap

ANSWER_S = 20.0
ASKING = 3
"""Times that a client asks which has got no answer."""
REST_S = 420.0
"""Three may wait for each other; each has a minute, and half of one to be remembered."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a seed."""

    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """How accepted requests ended, and how many were not accepted."""
    violations: list[Violation]
    dead_letters: int = 0
    events: int = 0
    loads: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=lambda: History(most_canaries=0))
    lost: Lost | None = None
    """What was deleted, if anything was: its violations are those that this does not explain."""


async def play(seed: int, home: Path, told: Story | None = None) -> Result:
    """Play a seed's story, or this one, in a directory that keeps logs and all that was seen."""
    began_s = time.monotonic()
    told = told or story(seed)
    siege = Siege(home, most_canaries=told.most_canaries)
    await siege.open_ways()
    try:
        async with siege:
            await siege.start_all_hosts(told.ack_wait_s)
            run = _Run(siege, told)
            await run.play()
            await run.settle()
            await run.say_again()
            history = await run.seen()
            dead = len([letter async for letter in siege.bus.history("DEAD", "*.dead.>")])
    finally:
        await siege.close_ways()
    # What a journal says counts once nobody writes it any more.
    history = msgspec.structs.replace(
        history, books={host: _book(home / "state" / host) for host in siege.hosts}
    )
    (home / "history.json").write_bytes(msgspec.json.encode(history))
    ends = Counter(record.terminal or "none" for record in history.records.values())
    return Result(
        seed=seed,
        faults=dict(
            Counter(type(fault).__name__.lower() for fault in told.faults)
            + Counter({"late repeat": len(told.late)})
        ),
        asked=len(told.asks),
        ends=dict(ends + Counter({"unanswered": run.unanswered})),
        violations=violations(history) if run.lost is None else [*unexcused(history, run.lost)],
        lost=run.lost,
        dead_letters=dead,
        events=len(history.events),
        loads=sum(line.what == "loaded" for each in history.kernels.values() for line in each),
        seconds=time.monotonic() - began_s,
        history=history,
    )


class _Run:
    """A story while it is played."""

    def __init__(self, siege: Siege, told: Story) -> None:
        self._siege = siege
        self._bus = siege.bus
        self._story = told
        self._tap = Tap(siege.bus)
        self._promised: list[str] = []
        self._restless: list[str] = []
        self.unanswered = 0
        self.lost: Lost | None = None

    async def play(self) -> None:
        """Everything at its moment; returns when the last of it is over."""
        await self._tap.start()
        steps = [asyncio.create_task(self._at(step)) for step in self._story.steps]
        try:
            await asyncio.gather(*steps)
        finally:
            await end(steps)
        await self._siege.heal()

    async def settle(self) -> None:
        """Until nobody has anything to do any more."""
        restless = ["nobody has looked"]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while restless:
                    await asyncio.sleep(0.5)
                    with contextlib.suppress(CoxswainError, *AWAY):
                        restless = await self._going_on()
        self._restless = [f"not at rest: {each}" for each in restless]
        self._siege.look()

    async def say_again(self) -> None:
        """What comes once more when all is over must change nothing."""
        for draw in self._story.late:
            await self._repeat(draw)
        if self._story.late and not self._restless:
            await self.settle()

    # The story ----------------------------------------------------------------------------

    async def _at(self, step: Step) -> None:
        await asyncio.sleep(step.at_s)
        siege = self._siege
        match step:
            case Ask():
                await self._ask(step)
            case Kill(part=part):
                await siege.die(part)
                await asyncio.sleep(step.for_s)
                await siege.rise(part)
            case Halt(part=part):
                siege.halt(part)
                await asyncio.sleep(step.for_s)
                siege.go_on(part)
            case Cut(part=part):
                await siege.cut(part)
                await asyncio.sleep(step.for_s)
                await siege.mend(part)
            case Starve(part=part):
                siege.starve(part)
                await asyncio.sleep(step.for_s)
                siege.feed(part)
            case Shift(part=part, by_s=by_s):
                siege.shift(part, by_s)
                await asyncio.sleep(step.for_s)
                siege.set_right(part)
            case Repeat(draw=draw):
                await self._repeat(draw)
            case Lose():
                self.lost = await lose(siege, step, self._story.ack_wait_s)

    async def _ask(self, ask: Ask) -> None:
        request = OptimizeRequest(
            workload="pulse",
            hosts=[host_name(number) for number in ask.hosts],
            policies=["latency"],
            budget=Budget(rounds=8, seconds=60),
            rollout=Rollout(soak_s=0.2, control_percent=0, cohorts=(50, 100)),
            seed=ask.seed,
        )
        for _ in range(ASKING):
            try:
                reply = await self._bus.ask(
                    self._bus.subjects.optimize, request, OptimizeReply, timeout_s=ANSWER_S
                )
            except CoxswainError:
                await asyncio.sleep(1.0)
            else:
                break
        else:
            self.unanswered += 1
            return
        if not reply.accepted:
            self.unanswered += 1
            return
        self._promised.extend(part.optimization for part in reply.parts)
        identity = reply.optimization
        if ask.stop_first:
            trial = f"{identity}-t1"
            stop = StopCommand(optimization=identity, trial=trial, reason="before it began")
            subject = self._bus.subjects.command("executor", "stop", reply.hosts[0])
            with contextlib.suppress(CoxswainError):
                await self._bus.publish(subject, stop, message_id=f"{trial}-early")
        if ask.cancel_after_s is not None:
            await asyncio.sleep(ask.cancel_after_s)
            with contextlib.suppress(CoxswainError):
                await self._bus.ask(
                    self._bus.subjects.endpoint("planner", "cancel"),
                    CancelRequest(optimization=identity, reason="somebody thought better of it"),
                    Reply,
                    timeout_s=ANSWER_S,
                )

    async def _repeat(self, draw: int) -> None:
        drawn = self._tap.draw(draw)
        if drawn is not None:
            subject, data = drawn
            with contextlib.suppress(CoxswainError):
                await self._bus.publish_bytes(subject, data, message_id=f"again-{draw}")

    # Coming to rest -----------------------------------------------------------------------

    async def _going_on(self) -> list[str]:
        """What is not over yet, in words."""
        records = await (await self._bus.records("optimizations", Optimization)).all()
        going_on = [
            f"{record.key} is {record.value.phase}"
            for record in records
            if not record.value.over or record.value.outbox
        ]
        if self.lost is not None:
            there = {record.key for record in records}
            going_on += unsettled(self._siege, self.lost, there, self._promised)
        if going_on:
            return going_on
        js, subjects = self._bus.js, self._bus.subjects
        for info in await js.streams_info():
            name = info.config.name or ""
            if subjects.stream_kind(name) == "COMMANDS" and info.state.messages:
                going_on.append(f"{info.state.messages} commands in {name}")
        for consumer in await js.consumers_info(subjects.stream("EVENTS")):
            left = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            if consumer.config.durable_name and left:
                going_on.append(f"{consumer.name} has {left} facts to read")
        for host in self._siege.hosts:
            state = await self._bus.ask(
                subjects.endpoint("executor", "state", host),
                StateRequest(),
                SchedulerState,
                timeout_s=5.0,
            )
            if state.kept != state.optimization:
                going_on.append(f"{host} keeps {state.kept or 'nothing'}, runs {state.ops}")
        return going_on

    # What was seen ------------------------------------------------------------------------

    async def seen(self) -> History:
        """All but what journals say."""
        siege, subjects, js = self._siege, self._bus.subjects, self._bus.js
        events = [
            Event(
                sequence=message.metadata.sequence.stream,
                subject=message.subject,
                sha256=hashlib.sha256(message.data).hexdigest(),
                said=msgspec.json.decode(message.data, type=Said),
            )
            async for message in stored(
                js, subjects.stream("EVENTS"), subjects.stream_subjects("EVENTS")
            )
        ]
        records = await (await self._bus.records("optimizations", Optimization)).all()
        requests = [
            hashlib.sha256(request.data).hexdigest() async for request in self._bus.requests_from(1)
        ]
        asked = {host_name(number) for ask in self._story.asks for number in ask.hosts}
        return History(
            most_canaries=self._story.most_canaries,
            events=events,
            acknowledged=self._tap.acknowledged,
            claims=self._tap.claims,
            records={each.key: _slim(each.value) for each in records},
            promised=self._promised,
            requests=requests,
            kernels={host: ledger.read(siege.ledgers, host) for host in siege.hosts},
            held=[host for host in siege.hosts if ledger.held(siege.ledgers, host)],
            clocks={host: siege.clock_of(host) for host in siege.hosts},
            left_alone=[host for host in siege.hosts if host not in asked],
            fallen=siege.fallen,
            restless=self._restless,
        )


def _slim(state: Optimization) -> Record:
    winner = state.winner
    decision = winner.decision if winner is not None else None
    return Record(
        id=state.id,
        created_unix_ns=state.created_unix_ns,
        ended_unix_ns=state.ended_unix_ns,
        fence=state.fence,
        over=state.over,
        unsent=len(state.outbox),
        terminal=state.terminal or "",
        reasons=state.reasons,
        request_sha256=state.request_sha256,
        winner=winner.trial if winner is not None else "",
        least_pairs=winner.spec.min_pairs if winner is not None else 0,
        decided_pairs=decision.pairs if decision is not None else 0,
        kept_on=[host for cohort in state.cohorts for host in cohort.hosts],
    )


def _book(folder: Path) -> Book:
    path = folder / "executor" / "journal"
    if not path.exists():
        return Book()
    books = Books()
    with Journal[Entry](path, cast("type[Entry]", Entry)) as journal:
        for entry in journal.records:
            books.note(entry)
        redeemed = [entry.nonce for entry in journal.records if isinstance(entry, Redeemed)]
    kept = books.kept
    return Book(redeemed=redeemed, kept=kept.command.optimization if kept is not None else "")
