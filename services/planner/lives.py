"""Every optimization that goes on: what its record says, and the steps it takes.

A record is changed by compare-and-set, so any planner instance may take the next step. Within this
one, steps of one optimization come one after another, and what has come in meanwhile goes into
one write: a cohort of a hundred hosts answers all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import time
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from services.planner.claims import tries
from services.planner.counts import count_step
from services.planner.machine import Lost, advance, sent
from services.planner.spans import tell_step
from services.planner.timelines import Timelines, moved
from shared.errors import BusError, BusUnavailableError, ConflictError
from shared.telemetry import attached, context_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.planner.machine import News
    from services.planner.turns import Turns
    from shared.bus import Bus, Record, Records
    from shared.optimization import Optimization, Outgoing
    from shared.telemetry import Telemetry

AT_ONCE = 64
"""Messages of one outbox that are on their way together."""

CLOSE_S = 3.0

NO_EVIDENCE = Lost(
    "the stream of events was deleted and made anew: what was measured for it is lost"
)

NO_ORDER = Lost("the stream of commands was deleted and made anew: nobody works on it any more")

log = structlog.get_logger(__name__)


class _Waiting:
    """A piece of news, and who waits for it to have taken effect."""

    def __init__(self, news: News | None) -> None:
        self.news = news
        """None: only what stands in the outbox is to be sent."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeed(self) -> None:
        """Whoever waits may go on; a cancelled one waits no more."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Whoever waits hears of it, and has the bus deliver the news again."""
        if not self.done.done():
            self.done.set_exception(error)


class Lives:
    """The records of all optimizations, as this planner sees and changes them."""

    def __init__(
        self, bus: Bus, telemetry: Telemetry, records: Records[Optimization], turns: Turns
    ) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._records = records
        self._turns = turns
        self._alive: dict[str, Record[Optimization]] = {}
        """What is not over, as the bucket last said."""
        self._times = Timelines()
        self._inbox: dict[str, list[_Waiting]] = {}
        """News for optimizations whose worker runs."""
        self._workers: set[asyncio.Task[None]] = set()

    # Looking ------------------------------------------------------------------------------

    def alive(self) -> list[Optimization]:
        """All that are not over."""
        return [record.value for record in self._alive.values()]

    def get(self, identity: str) -> Optimization | None:
        """One that is not over, as far as this planner has heard."""
        record = self._alive.get(identity)
        return record.value if record is not None else None

    def is_due(self, state: Optimization) -> bool:
        """Whether something in it has been waited for long enough."""
        return self._times.now(state) >= min(state.deadline_unix_ns, state.expires_unix_ns)

    async def read(self, identity: str) -> Optimization | None:
        """What the bucket says now, of one that is over, too."""
        record = await self._records.get(identity)
        return record.value if record is not None else None

    async def read_all(self) -> list[Optimization]:
        """Every one that there ever was; from now on this planner knows what is alive."""
        records = await self._records.all()
        for record in records:
            self._see(record)
        return [record.value for record in records]

    async def follow(self) -> None:
        """Know what the other instances have written, for ever."""
        async for record in self._records.watch(unless=self._knows):
            self._see(record)

    def _knows(self, identity: str, revision: int) -> bool:
        """Whether this is what was written here: it need not be read once more."""
        known = self._alive.get(identity)
        return known is not None and known.revision >= revision

    def _see(self, record: Record[Optimization]) -> None:
        if self._knows(record.key, record.revision):
            return
        if record.value.over and not record.value.outbox:
            self._alive.pop(record.key, None)
            self._times.forget(record.key)
        else:
            self._alive[record.key] = record
            self._times.see(record.value)

    # What stands on the bus -------------------------------------------------------------------

    def check(self) -> None:
        """Raise GoneError while something is gone that optimizations cannot do without."""
        self._bus.footing.check()

    @property
    def evidence(self) -> str:
        """When the stream of events was made that is there now; empty while there is none."""
        return self._bus.footing.born(self._bus.subjects.stream("EVENTS"))

    async def give_up_lost(self) -> None:
        """End those whose evidence is gone: what was measured cannot be shown any more."""
        now = self.evidence
        for state in self.alive():
            if now and state.evidence not in {"", now} and state.phase != "remembering":
                await self.step(state.id, NO_EVIDENCE)

    async def give_up_unheard(self) -> None:
        """End those whose order to plan or to build was lost: hosts' have streams of their own.

        One that was given in the last seconds, to the new stream, ends as well.
        """
        for state in self.alive():
            if state.phase in {"planning", "building"}:
                await self.step(state.id, NO_ORDER)

    async def _on_evidence(self, states: list[Optimization]) -> list[Optimization]:
        """A promotion, if what it rests on is there still: looked at once more, now.

        Raises GoneError while there is no stream of events at all; then its news comes again.
        """
        await self._bus.footing.look()
        self._bus.footing.check()
        first = states[0]
        if first.evidence in {"", self.evidence}:
            return states
        return [first, advance(first, NO_EVIDENCE, time.time_ns())]

    async def find(self) -> None:
        """Look whether the bucket has every record; one that it has not is written again."""
        missing = []
        for state in self.alive():
            record = await self._records.get(state.id)
            if record is None:
                missing.append(state.id)
            else:
                self._alive.pop(state.id, None)
                self._see(record)
        # None waits until what another one has to say is sent.
        await asyncio.gather(*map(self.step, missing))

    # Stepping -----------------------------------------------------------------------------

    async def open(self, state: Optimization) -> None:
        """Write the first record of a new optimization."""
        self._see(await self._records.create(state.id, state))

    async def step(self, identity: str, news: News | None = None) -> None:
        """Let the news take effect, once, whoever else is at it; then send what follows.

        Without news only what an instance has left unsent is sent. Returns once all of it is on
        the bus. Raises BusError; then nothing is lost, and the news may come again.
        """
        waiting = _Waiting(news)
        inbox = self._inbox.get(identity)
        if inbox is None:
            self._inbox[identity] = [waiting]
            # An empty context: what it does belongs to the optimization, not to who came first.
            worker = asyncio.create_task(self._work(identity), context=contextvars.Context())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        else:
            inbox.append(waiting)
        await waiting.done

    async def close(self) -> None:
        """Finish the steps that are under way; another planner goes on with what takes too long."""
        if self._workers:
            await asyncio.wait(self._workers, timeout=CLOSE_S)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self, identity: str) -> None:
        """Take the steps of one optimization until nothing more has come in."""
        batch: list[_Waiting] = []
        unnoted: list[str] = []
        try:
            while self._inbox[identity] or unnoted:
                batch, self._inbox[identity] = self._inbox[identity], []
                record = await self._advance(identity, batch, unnoted)
                unnoted = await self._send(record.value) if record is not None else []
                for waiting in batch:
                    waiting.succeed()
        except asyncio.CancelledError:
            self._fail([*batch, *self._inbox[identity]], _ends())
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits hears of it
            self._fail([*batch, *self._inbox[identity]], error)
            # With nobody waiting, what has been sent is noted, or sent once more, by the next tick.
            log.warning("step.failed", optimization=identity, problem=repr(error))
        finally:
            del self._inbox[identity]

    @staticmethod
    def _fail(waiting: Iterable[_Waiting], error: Exception) -> None:
        for each in waiting:
            each.fail(error)

    async def _advance(
        self, identity: str, batch: list[_Waiting], unnoted: list[str]
    ) -> Record[Optimization] | None:
        """Write what the news makes of the record, and that some messages have been sent.

        The first try is with what this planner knows. Only the bucket's own word tells that news
        comes too late, or that somebody was quicker.
        """
        known = self._alive.get(identity)
        while True:
            record = known or await self._records.get(identity) or await self._write_again(identity)
            if record is None:
                log.warning("optimization.unknown", optimization=identity)
                return None
            if known is None:
                self._see(record)
            now = time.time_ns()
            before = moved(record.value, now - self._times.now(record.value))
            states = _apply(sent(before, unnoted), batch, now)
            if states[-1].terminal == "promoted" and states[0].terminal is None:
                states = await self._on_evidence(states)
            if states[-1] != before:
                states[-1] = replace(states[-1], at_unix_ns=now)
                with contextlib.suppress(ConflictError):
                    after = await self._records.replace(record, states[-1])
                    self._see(after)
                    await self._tell(states)
                    return after
            elif known is None:
                return record
            known = None

    async def _write_again(self, identity: str) -> Record[Optimization] | None:
        """The record of one that this planner knows and the bucket has lost: given up.

        What was known may not have been the latest, so nothing is built on it: whatever runs of it
        goes back. None if it is not known here.
        """
        lost = self._alive.get(identity)
        if lost is None:
            return None
        log.error(
            "optimization.lost",
            optimization=identity,
            expected="its record, in the bucket of optimizations",
            got="none",
            advice="It is given up, and its hosts go back. Ask for it again.",
        )
        now = time.time_ns()
        before = moved(lost.value, now - self._times.now(lost.value))
        after = advance(before, Lost("its record was lost from the bus"), now)
        after = replace(after, at_unix_ns=now)
        try:
            written = await self._records.create(identity, after)
        except ConflictError:
            return await self._records.get(identity)
        # Not by comparing revisions: they are of different buckets.
        self._alive.pop(identity, None)
        self._see(written)
        await self._tell([before, after])
        return written

    async def _tell(self, states: list[Optimization]) -> None:
        """What was decided, in spans and metrics, once it is written; and who has the next turn."""
        for before, after in itertools.pairwise(states):
            count_step(self._telemetry.metrics, before, after)
            with attached(context_of(after.traceparent)):
                tell_step(self._telemetry, before, after)
        first, last = states[0], states[-1]
        if last.over or tries(first) != tries(last):
            with contextlib.suppress(BusError):  # the next sweep does it
                await self._turns.settle(last)

    async def _send(self, state: Optimization) -> list[str]:
        """Send what the record says must be sent, in its order; the ids of what is on the bus."""
        with attached(context_of(state.traceparent)):
            for first in range(0, len(state.outbox), AT_ONCE):
                some = state.outbox[first : first + AT_ONCE]
                await asyncio.gather(*(self._post(state.id, item) for item in some))
        return [item.id for item in state.outbox]

    async def _post(self, identity: str, item: Outgoing) -> None:
        subjects = self._bus.subjects
        if item.kind == "cmd":
            subject = subjects.command(item.service, item.verb, item.host)
        else:
            subject = subjects.event(item.service, item.verb, identity)
        await self._bus.publish_bytes(subject, bytes(item.body), message_id=item.id)


def _apply(state: Optimization, batch: Iterable[_Waiting], now_unix_ns: int) -> list[Optimization]:
    """The state, and what it becomes with each news; what cannot be taken in fails alone."""
    states = [state]
    for waiting in batch:
        if waiting.news is None:
            continue
        try:
            after = advance(states[-1], waiting.news, now_unix_ns)
        except Exception as error:  # noqa: BLE001 - whoever brought it hears of it
            waiting.fail(error)
        else:
            states.append(after)
    return states


def _ends() -> BusUnavailableError:
    return BusUnavailableError(
        "this planner ends", expected="another one that goes on", advice="Nothing is lost."
    )
