"""The planner on the bus: requests and facts in, decisions out.

All that an optimization is stands in its record, which is changed by compare-and-set: any
planner instance may take the next step, and one that crashes is missed by nobody.

    accepting   a client's request becomes optimizations
    queue       who begins when
    orders      what operators say
    standing    and what they say of policies
    thinking    what is tried: a mind plans
    lives       the records, and the steps they take
    drifting    what was promoted and does not do any more what it did
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal

import structlog

from services.planner.accepting import Accepting
from services.planner.astray import Astray
from services.planner.company import Company
from services.planner.counts import count_alive
from services.planner.drifting import Drifting
from services.planner.hearing import heard
from services.planner.hosts import Hosts
from services.planner.incumbents import Incumbents
from services.planner.lives import Lives
from services.planner.machine import Tick
from services.planner.minds.chosen import chosen_minds
from services.planner.orders import Orders
from services.planner.queue import Queue
from services.planner.standing import Standing
from services.planner.thinking import Thinking
from services.planner.turns import Turns
from shared.errors import BusError
from shared.messages import (
    Built,
    Checked,
    CheckRequest,
    Confirmed,
    Deepened,
    DeepenRequest,
    Deployed,
    Drifted,
    Inventory,
    Judged,
    PlanCommand,
    Probed,
    Profiled,
    Remembered,
    Reverted,
    Round,
    SchedulerState,
    TrialEnded,
    Weighed,
)
from shared.metrics import declared
from shared.optimization import Optimization
from shared.policies import Catalogue as PolicyCatalogue
from shared.service import call_roll
from shared.tasks import end, together
from shared.workloads import Catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from services.planner.drifting import Most
    from services.planner.minds import Mind
    from shared.bus import Bus, Delivery, Records
    from shared.messages import Message
    from shared.settings import Settings
    from shared.telemetry import Telemetry

TICK_S = 1.0

CHECK_S = 30.0
"""For the gate to look at hooks: half a second, if nobody else asks."""
EVENTS_AT_ONCE = 64
"""News that is worked on at the same time: of one optimization it goes into one write."""

log = structlog.get_logger(__name__)


class Planner:
    """Owns optimizations, together with every other planner instance."""

    def __init__(
        self,
        bus: Bus,
        telemetry: Telemetry,
        minds: Sequence[Mind],
        workloads: Catalogue,
        policies: PolicyCatalogue,
        optimizations: Records[Optimization],
        inventories: Records[Inventory],
        schedulers: Records[SchedulerState],
        incumbents: Incumbents,
        turns: Turns,
        drift: Most = "optimize",
    ) -> None:
        self._bus = bus
        self._metrics = telemetry.metrics
        self._lives = Lives(bus, telemetry, optimizations, turns)
        self._hosts = Hosts(bus, inventories, schedulers)
        company = Company(incumbents, workloads)
        self._queue = Queue(self._lives, turns, company)
        self._orders = Orders(self._lives, self._queue, turns, self._hosts)
        self._standing = Standing(bus, turns, policies)
        self._accepting = Accepting(
            telemetry,
            workloads,
            policies,
            self._lives,
            self._queue,
            turns,
            self._hosts,
            company,
        )
        self._drifting = Drifting(bus, self._lives, self._hosts, self._accepting, drift)
        self._thinking = Thinking(bus, telemetry, minds, policies, self._lives, turns)
        self._astray = Astray(bus, telemetry, self._lives, self._hosts)
        self._records_born = ""
        """When the bucket was made whose records this planner knows."""
        self._orders_born = ""
        """When the stream was made that its orders to planners and the gate go into."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take requests, and go on with what any instance has begun, while the context is open."""
        await self._start()
        tasks = [asyncio.create_task(self._keep_time()), asyncio.create_task(self._follow())]
        try:
            yield
        finally:
            await end(tasks)
            await self._lives.close()

    async def _start(self) -> None:
        self._metrics.expose(*declared.PLANNER)
        subjects = self._bus.subjects
        await self._hosts.presence.start()
        self._bus.depend(subjects.stream("EVENTS"))
        self._bus.depend(subjects.stream("COMMANDS"))
        await self._bus.footing.look()
        self._records_born = self._born("optimizations")
        self._orders_born = self._bus.footing.born(subjects.stream("COMMANDS"))
        await self._lives.read_all()
        await self._accepting.serve(self._bus)
        await self._orders.serve(self._bus)
        await self._standing.serve()
        self._bus.consume(
            "EVENTS",
            subjects.consumer("planner", "events"),
            {
                "profiled": (Profiled, self._on_news),
                "built": (Built, self._on_news),
                "round": (Round, self._on_news),
                "judged": (Judged, self._on_news),
                "trial_ended": (TrialEnded, self._on_news),
                "deployed": (Deployed, self._on_news),
                "confirmed": (Confirmed, self._on_news),
                "probed": (Probed, self._on_news),
                "weighed": (Weighed, self._on_news),
                "drifted": (Drifted, self._drifting.on_drifted),
                "reverted": (Reverted, self._on_news),
                "remembered": (Remembered, self._on_news),
            },
            concurrency=EVENTS_AT_ONCE,
        )
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("planner", "commands"),
            {"plan": (PlanCommand, self._thinking.plan)},
            concurrency=4,
        )

    async def _on_news(self, news: Message, _delivery: Delivery) -> None:
        identity: str = news.optimization  # type: ignore[attr-defined]
        await self._lives.step(identity, heard(news))  # type: ignore[arg-type]

    async def _keep_time(self) -> None:
        """Give up what waited too long, and send what a crashed instance has left unsent."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._mend()
            except BusError as error:
                log.warning("losses.not_mended", problem=str(error))
            alive = self._lives.alive()
            count_alive(self._metrics, alive)
            for state in alive:
                if state.outbox or self._lives.is_due(state):
                    try:
                        await self._lives.step(state.id, Tick())
                    except Exception as error:  # noqa: BLE001 - the bus may be away; the next tick counts
                        log.warning("tick.failed", optimization=state.id, problem=repr(error))
            if self._bus.footing.lost:
                continue  # nobody has a turn then
            try:
                await self._queue.tend()
            except Exception as error:  # noqa: BLE001 - the same
                log.warning("turns.failed", problem=repr(error))

    async def _mend(self) -> None:
        """Deal with what was lost from the bus, if anything was."""
        born = self._born("optimizations")
        if born not in {"", self._records_born}:
            await self._lives.find()
            self._astray.forget()
            self._records_born = born
        orders = self._bus.footing.born(self._bus.subjects.stream("COMMANDS"))
        if orders not in {"", self._orders_born}:
            if self._orders_born:
                await self._lives.give_up_unheard()
            self._orders_born = orders
        await self._lives.give_up_lost()
        await self._astray.look()
        await self._drifting.look()

    def _born(self, bucket: Literal["optimizations", "hosts"]) -> str:
        return self._bus.footing.born(f"KV_{self._bus.subjects.bucket(bucket)}")

    async def _follow(self) -> None:
        """Know what the other instances have written, and what hosts there are."""
        await together(
            self._again_and_again(self._lives.follow),
            self._again_and_again(self._hosts.follow),
            self._call_when_lost(),
        )

    async def _again_and_again(self, follow: Callable[[], Coroutine[None, None, None]]) -> None:
        """Follow for ever; anew when what is followed may be another bucket by now.

        Who follows one that is gone hears nothing, not even that.
        """
        while True:
            await self._bus.footing.whole()
            following = asyncio.create_task(follow())
            changed = asyncio.create_task(self._bus.footing.changed())
            try:
                await asyncio.wait({following, changed}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    await following
            except Exception as error:  # noqa: BLE001 - the bus may be away; watch again
                log.warning("follow.failed", problem=repr(error))
            finally:
                await end([following, changed])
            await asyncio.sleep(TICK_S)

    async def _call_when_lost(self) -> None:
        """Have hosts look, too, when what they have written is gone: alone they seldom do."""
        born = self._born("hosts")
        while True:
            now = self._born("hosts")
            if now in {"", born}:
                await self._bus.footing.changed()
                continue
            born = now
            await call_roll(self._bus, look=True)


@contextlib.asynccontextmanager
async def planner(settings: Settings, bus: Bus, telemetry: Telemetry) -> AsyncIterator[None]:
    """Plan while the context is open."""

    async def check(request: CheckRequest) -> Checked:
        gate = bus.subjects.endpoint("executor", "check")
        return await bus.ask(gate, request, Checked, timeout_s=CHECK_S)

    async def deepen(host: str, request: DeepenRequest, within_s: float) -> Deepened:
        observer = bus.subjects.endpoint("observer", "deepen", host)
        return heard(await bus.ask(observer, request, Deepened, timeout_s=within_s))

    async with chosen_minds(telemetry, check, deepen=deepen) as minds:
        optimizations = await bus.records("optimizations", Optimization)
        service = Planner(
            bus,
            telemetry,
            minds,
            Catalogue.load(),
            PolicyCatalogue.load(),
            optimizations,
            await bus.records("hosts", Inventory),
            await bus.records("hosts", SchedulerState),
            await Incumbents.on(bus, optimizations),
            await Turns.on(bus, settings.max_canaries),
            settings.drift,
        )
        async with service.running():
            yield
