"""The planner on the bus: requests and facts in, decisions out.

All that an optimization is stands in its record, which is changed by compare-and-set: any
planner instance may take the next step, and one that crashes is missed by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from services.planner.claims import in_turn, owes, tries
from services.planner.counts import count_alive, count_step
from services.planner.machine import (
    Begin,
    Hold,
    Release,
    Tick,
    Wait,
    accept,
    advance,
    sent,
)
from services.planner.minds import Question
from services.planner.minds.embedded import EmbeddedMind
from services.planner.presence import Presence
from services.planner.request import (
    check_budget,
    check_not_frozen,
    check_policies,
    check_rollout,
    new_ids,
    open_optimization,
)
from services.planner.spans import request_span, tell_step
from services.planner.targets import Fleet, check_free, choose
from services.planner.turns import Turns
from shared import attributes as names
from shared.errors import BusError, ConflictError, CoxswainError, RequestError
from shared.fingerprint import key
from shared.messages import (
    AcceptedPart,
    Built,
    CancelRequest,
    Confirmed,
    Deployed,
    DrainRequest,
    FreezeRequest,
    Inventory,
    Judged,
    OptimizeReply,
    OptimizeRequest,
    PauseRequest,
    Plan,
    PlanCommand,
    Probed,
    Profiled,
    RecallRequest,
    Recollection,
    Remembered,
    Reply,
    ResumeRequest,
    Reverted,
    Round,
    TrialEnded,
    Weighed,
)
from shared.metrics import declared
from shared.optimization import Optimization
from shared.policies import Catalogue as PolicyCatalogue
from shared.telemetry import attached, context_of
from shared.workloads import Catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from services.planner.machine import News
    from services.planner.minds import Mind
    from services.planner.targets import Targets
    from shared.bus import Bus, Delivery, Records
    from shared.fleet import Orders
    from shared.messages import Fingerprint, Message
    from shared.settings import Settings
    from shared.telemetry import Telemetry
    from shared.workloads import Workload

TICK_S = 1.0
PAUSED, FROZEN = "paused", "frozen"
RECALL_S = 5.0

log = structlog.get_logger(__name__)


class Planner:
    """Owns optimizations, together with every other planner instance."""

    def __init__(
        self,
        bus: Bus,
        telemetry: Telemetry,
        mind: Mind,
        workloads: Catalogue,
        policies: PolicyCatalogue,
        optimizations: Records[Optimization],
        inventories: Records[Inventory],
        turns: Turns,
    ) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._mind = mind
        self._workloads = workloads
        self._policies = policies
        self._optimizations = optimizations
        self._inventories = inventories
        self._turns = turns
        self._presence = Presence(bus)
        self._alive: dict[str, Optimization] = {}
        """What is not over, as the bucket last said."""
        self._hosts: dict[str, Inventory] = {}
        """Inventories by their keys, as the bucket last said."""

    async def start(self) -> None:
        """Take requests, and go on with what any instance has begun."""
        self._telemetry.metrics.expose(*declared.PLANNER)
        subjects = self._bus.subjects
        await self._presence.start()
        for record in await self._optimizations.all():
            self._see(record.value)
        await self._bus.serve(
            subjects.optimize,
            OptimizeRequest,
            self._accept,
            queue="planner",
            refuse=lambda problem: OptimizeReply(accepted=False, problem=problem),
        )
        await self._bus.serve(
            subjects.endpoint("planner", "cancel"), CancelRequest, self._cancel, queue="planner"
        )
        for name, kind, answer in (
            ("pause", PauseRequest, self._pause),
            ("resume", ResumeRequest, self._resume),
            ("freeze", FreezeRequest, self._freeze),
            ("drain", DrainRequest, self._drain),
        ):
            await self._bus.serve(subjects.endpoint("planner", name), kind, answer, queue="planner")
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
                "reverted": (Reverted, self._on_news),
                "remembered": (Remembered, self._on_news),
            },
            concurrency=8,
        )
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("planner", "commands"),
            {"plan": (PlanCommand, self._plan)},
            concurrency=4,
        )

    # Requests -----------------------------------------------------------------------------

    async def _accept(self, request: OptimizeRequest) -> OptimizeReply:
        workload = self._workloads[request.workload]
        check_policies(request, list(self._policies))
        check_budget(request, workload.manifest.round_s)
        check_rollout(request)
        known = await self._known(request.hosts)
        await self._presence.wait_for(request.hosts or known)
        orders = await self._turns.orders()
        wanted = {host: state.id for state in self._alive.values() for host in state.hosts}
        fleet = Fleet(
            known=known,
            busy=wanted | (await self._turns.claims()).value.hosts,
            silent={name: self._presence.missing(name) for name in request.hosts or known},
            drained=orders.drained,
            meant=await self._meant(request.select.fingerprint),
        )
        choice = choose(request, fleet)
        if not request.wait:
            check_free([host for group in choice.groups for host in group.hosts], fleet)
            check_not_frozen(orders)
        opened = await self._open(request, workload, choice.groups, known)
        for state in opened:
            await self._flush(state.id)
        await self._take_turns({state.id for state in opened})
        parts = [
            AcceptedPart(
                optimization=state.id,
                hosts=state.hosts,
                waits=self._alive.get(state.id, state).waits,
            )
            for state in opened
        ]
        for part in parts:
            log.info(
                "optimization.accepted",
                optimization=part.optimization,
                workload=request.workload,
                waits=part.waits,
            )
        waits = "; ".join(dict.fromkeys(part.waits for part in parts if part.waits))
        if waits and not request.wait:
            # Somebody was quicker, or all canaries are out: that could not be seen before.
            await self._take_back(opened, waits)
            raise RequestError(
                "the request cannot begin now",
                expected="a turn at once, because it does not wait",
                got=waits,
                advice="Ask again later, or let it wait.",
            )
        return OptimizeReply(
            accepted=True,
            optimization=parts[0].optimization,
            trace_id=opened[0].trace_id,
            hosts=parts[0].hosts,
            left_out=choice.left_out,
            waits=parts[0].waits,
            parts=parts,
        )

    async def _open(
        self,
        request: OptimizeRequest,
        workload: Workload,
        groups: Sequence[Targets],
        known: Mapping[str, Inventory],
    ) -> list[Optimization]:
        """A record for each group, all in one trace.

        Each is a whole optimization that needs none of the others. A planner that dies between two
        of them leaves those that it has written, and any planner goes on with them: `cox
        optimizations` lists them. The client then has no answer, so it takes nothing for accepted;
        asking again begins where nobody works yet. An answer is given only once all are written,
        and where one of them cannot be, those before it are cancelled.
        """
        now = time.time_ns()
        ids = new_ids(now, len(groups))
        parts = {identity: group.hosts for identity, group in zip(ids, groups, strict=True)}
        opened: list[Optimization] = []
        try:
            with request_span(self._telemetry, request, workload.objective, parts) as contexts:
                for identity, hosts in parts.items():
                    state = open_optimization(
                        request,
                        workload,
                        known,
                        hosts,
                        traceparent=contexts[identity],
                        identity=identity,
                        now_unix_ns=now,
                    )
                    state = accept(state, now)
                    await self._optimizations.create(identity, state)
                    self._see(state)
                    self._telemetry.metrics.count(declared.ACCEPTED)
                    opened.append(state)
        except CoxswainError as error:
            await self._take_back(opened, f"another part of its request failed: {error}")
            raise
        return opened

    async def _take_back(self, opened: Sequence[Optimization], reason: str) -> None:
        for state in opened:
            await self._step(state.id, CancelRequest(optimization=state.id, reason=reason))

    async def _known(self, wanted: Sequence[str]) -> dict[str, Inventory]:
        """Every host's inventory. They are followed, for reading a thousand takes its time.

        Who asks for a host that is not among them may be quicker than its news: then all are read.
        """
        known = {inventory.host: inventory for inventory in self._hosts.values()}
        if known and known.keys() >= set(wanted):
            return known
        return {r.value.host: r.value for r in await self._inventories.all("*.inventory")}

    async def _meant(self, fingerprint: str) -> Fingerprint | None:
        """What a key stands for; None for none. Raises RequestError for one that nobody has seen.

        A key is a hash, so what it is of stands in a record. All are read: selecting like this is
        rare, and no other place holds every fingerprint that an operator can see.
        """
        if not fingerprint:
            return None
        for record in await self._optimizations.all():
            seen = record.value.fingerprint
            if seen is not None and key(seen) == fingerprint:
                return seen
        raise RequestError(
            "unknown fingerprint",
            expected="the fingerprint of an optimization that has come as far as its profile",
            got=fingerprint,
            advice="`cox optimizations` lists them.",
        )

    async def _cancel(self, request: CancelRequest) -> Reply:
        await self._alive_one(request.optimization)
        await self._step(request.optimization, request)
        return Reply()

    async def _alive_one(self, identity: str) -> Optimization:
        """One that is not over. Raises RequestError."""
        record = await self._optimizations.get(identity)
        if record is None:
            raise RequestError(
                "unknown optimization",
                expected="an id as `cox optimizations` lists them",
                got=repr(identity),
            )
        if record.value.over:
            raise RequestError(f"{identity} is over already", got=str(record.value.terminal))
        return record.value

    # Operators' orders --------------------------------------------------------------------

    async def _pause(self, request: PauseRequest) -> Reply:
        await self._alive_one(request.optimization)
        await self._step(request.optimization, Hold(PAUSED))
        return Reply()

    async def _resume(self, request: ResumeRequest) -> Reply:
        state = await self._alive_one(request.optimization)
        if PAUSED not in state.holds:
            raise RequestError(
                f"{request.optimization} is not paused",
                got=", ".join(state.holds) or "it goes on",
                advice="A frozen fleet goes on with `cox unfreeze`." if state.holds else "",
            )
        await self._step(request.optimization, Release(PAUSED))
        return Reply()

    async def _freeze(self, request: FreezeRequest) -> Reply:
        reason = request.reason if request.frozen else ""
        orders = await self._turns.order(
            lambda orders: replace(orders, frozen=request.frozen, reason=reason)
        )
        # Not only those that this instance has heard of: the answer says that it holds.
        for record in await self._optimizations.all():
            self._see(record.value)
        await self._obey(orders)
        log.info("fleet.frozen" if request.frozen else "fleet.unfrozen", reason=reason)
        return Reply()

    async def _drain(self, request: DrainRequest) -> Reply:
        known = [record.value.host for record in await self._inventories.all("*.inventory")]
        if request.host not in known:
            raise RequestError(
                "unknown host",
                expected=f"one of {', '.join(known) or '(no host has joined yet)'}",
                got=request.host,
                advice="`cox hosts` lists them.",
            )

        def change(orders: Orders) -> Orders:
            others = {h: why for h, why in orders.drained.items() if h != request.host}
            more = {request.host: request.reason} if request.drained else {}
            return replace(orders, drained={**others, **more})

        await self._turns.order(change)
        return Reply()

    async def _obey(self, orders: Orders) -> None:
        """Let what is under way stand still while the fleet is frozen."""
        for identity, state in list(self._alive.items()):
            if orders.frozen and FROZEN not in state.holds and state.phase != "queued":
                await self._step(identity, Hold(FROZEN))
            elif not orders.frozen and FROZEN in state.holds:
                await self._step(identity, Release(FROZEN))

    async def _take_turns(self, only: Collection[str] = ()) -> None:
        """Begin what may begin, in its order; tell the others what they wait for.

        With `only`, these alone: one that has just come changes nothing for the others.
        """
        waiting = in_turn(self._alive.values())
        if not waiting:
            return
        orders = await self._turns.orders()
        claims = await self._turns.claims()
        wanted: dict[str, str] = {}
        for state in waiting:
            if not only or state.id in only:
                why = _forbidden(orders, state)
                fence = 0
                if not why:
                    turn, claims = await self._turns.claim(state, wanted, claims)
                    why, fence = turn.waits, turn.fence
                if not why:
                    await self._step(state.id, Begin(fence))
                elif why != state.waits:
                    await self._step(state.id, Wait(why))
            for host in state.hosts:
                wanted.setdefault(host, state.id)

    async def _sweep(self) -> None:
        """Give back claims of what does not need them, whoever should have done it."""
        claims = (await self._turns.claims()).value
        for identity in {*claims.hosts.values(), *claims.canaries}:
            alive = self._alive.get(identity)
            if alive is not None and not owes(claims, alive):
                continue
            record = await self._optimizations.get(identity)
            if record is None:
                await self._turns.forget(identity)
            else:
                await self._turns.settle(record.value)

    # Steps --------------------------------------------------------------------------------

    async def _on_news(self, news: Message, _delivery: Delivery) -> None:
        identity: str = news.optimization  # type: ignore[attr-defined]
        await self._step(identity, news)  # type: ignore[arg-type]

    async def _step(self, identity: str, news: News) -> None:
        """Let the news take effect, once, whoever else is at it; then send what follows."""
        while True:
            record = await self._optimizations.get(identity)
            if record is None:
                log.warning("optimization.unknown", optimization=identity)
                return
            before = record.value
            after = advance(before, news, time.time_ns())
            if after == before:
                break
            try:
                await self._optimizations.replace(record, after)
            except ConflictError:
                continue
            self._see(after)
            count_step(self._telemetry.metrics, before, after)
            with attached(context_of(after.traceparent)):
                tell_step(self._telemetry, before, after)
            if after.over or tries(before) != tries(after):
                with contextlib.suppress(BusError):  # the next sweep does it
                    await self._turns.settle(after)
            break
        await self._flush(identity)

    async def _flush(self, identity: str) -> None:
        """Send what the record says must be sent, and note that it was."""
        while True:
            record = await self._optimizations.get(identity)
            if record is None or not record.value.outbox:
                return
            state = record.value
            with attached(context_of(state.traceparent)):
                for item in state.outbox:
                    subjects = self._bus.subjects
                    if item.kind == "cmd":
                        subject = subjects.command(item.service, item.verb, item.host)
                    else:
                        subject = subjects.event(item.service, item.verb, state.id)
                    await self._bus.publish_bytes(subject, bytes(item.body), message_id=item.id)
            # Somebody else's step only adds to the outbox; try until ours is taken out.
            with contextlib.suppress(ConflictError):
                after = sent(state, [item.id for item in state.outbox])
                await self._optimizations.replace(record, after)
                self._see(after)

    def _see(self, state: Optimization) -> None:
        if state.over and not state.outbox:
            self._alive.pop(state.id, None)
        else:
            self._alive[state.id] = state

    # Planning -----------------------------------------------------------------------------

    async def _plan(self, command: PlanCommand, delivery: Delivery) -> None:
        record = await self._optimizations.get(command.optimization)
        if record is None or record.value.phase != "planning":
            return
        state = record.value
        with self._telemetry.span(
            "plan",
            of=self._mind.name,
            attributes={
                names.OPTIMIZATION_ID: state.id,
                names.PLAN_MIND: self._mind.name,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            plan = await self._think(state)
            span.set(
                {
                    names.PLAN_KIND: plan.kind,
                    names.PLAN_RECALLED: plan.recalled,
                    names.DECISION_CONSIDERED: [
                        f"{c.policy} {c.score:.2f}: {c.reason}" for c in plan.considered
                    ],
                    names.DECISION_CHOSEN: [
                        f"{c.policy} {c.parameters} predicts {c.predicted_ratio:.2f}"
                        f" [{c.predicted_low:.2f}, {c.predicted_high:.2f}]: {c.why}"
                        for c in plan.candidates
                    ],
                    names.DECISION_WHY: plan.why,
                }
            )
            if plan.problem is not None:
                span.fail(str(plan.problem), kind=plan.problem.kind)
        await self._step(state.id, plan)

    async def _think(self, state: Optimization) -> Plan:
        assert state.profile is not None
        assert state.fingerprint is not None
        recollection = await self._recall(state)
        question = Question(
            optimization=state.id,
            request=state.request,
            profile=state.profile,
            inventory=state.inventories[state.canary],
            fingerprint=state.fingerprint,
            objective=state.objective,
            recollection=recollection,
            policies=self._policies,
        )
        try:
            return await self._mind.plan(question)
        except CoxswainError as error:
            return Plan(
                optimization=state.id,
                mind=self._mind.name,
                kind="keep-default",
                considered=[],
                candidates=[],
                why="the mind could not plan",
                problem=error.problem,
            )

    async def _recall(self, state: Optimization) -> Recollection:
        """What is known; without a learner we plan from the profile alone."""
        assert state.profile is not None
        assert state.fingerprint is not None
        request = RecallRequest(fingerprint=state.fingerprint, features=state.profile.features)
        try:
            return await self._bus.ask(
                self._bus.subjects.endpoint("learner", "recall"),
                request,
                Recollection,
                timeout_s=RECALL_S,
            )
        except BusError as error:
            log.warning("plan.no_recall", optimization=state.id, problem=str(error))
            return Recollection()

    # Time ---------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """Give up what waited too long, and send what a crashed instance has left unsent."""
        while True:
            await asyncio.sleep(TICK_S)
            count_alive(self._telemetry.metrics, self._alive.values())
            now = time.time_ns()
            for identity, state in list(self._alive.items()):
                due = state.outbox or now >= min(state.deadline_unix_ns, state.expires_unix_ns)
                if not due:
                    continue
                try:
                    await self._step(identity, Tick())
                except Exception as error:  # noqa: BLE001 - the bus may be away; the next tick counts
                    log.warning("tick.failed", optimization=identity, problem=repr(error))
            try:
                await self._obey(await self._turns.orders())
                await self._sweep()
                await self._take_turns()
            except Exception as error:  # noqa: BLE001 - the same
                log.warning("turns.failed", problem=repr(error))

    async def follow(self) -> None:
        """Know what the other instances have written, and what hosts there are."""
        await asyncio.gather(
            _again_and_again(self._follow_optimizations),
            _again_and_again(lambda: self._inventories.mirror("*.inventory", self._hosts)),
        )

    async def _follow_optimizations(self) -> None:
        async for record in self._optimizations.watch():
            self._see(record.value)


async def _again_and_again(follow: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await follow()
        except Exception as error:  # noqa: BLE001 - the bus may be away; watch again
            log.warning("follow.failed", problem=repr(error))
        await asyncio.sleep(TICK_S)


def _forbidden(orders: Orders, state: Optimization) -> str:
    """Why operators do not want it to begin; empty if they do not mind."""
    if orders.frozen:
        return f"the fleet is frozen: {orders.reason}".rstrip(": ")
    drained = [host for host in state.hosts if host in orders.drained]
    return f"{', '.join(drained)} drained" if drained else ""


@contextlib.asynccontextmanager
async def planner(settings: Settings, bus: Bus, telemetry: Telemetry) -> AsyncIterator[None]:
    """Plan while the context is open."""
    service = Planner(
        bus,
        telemetry,
        EmbeddedMind(),
        Catalogue.load(),
        PolicyCatalogue.load(),
        await bus.records("optimizations", Optimization),
        await bus.records("hosts", Inventory),
        await Turns.on(bus, settings.max_canaries),
    )
    await service.start()
    tasks = [asyncio.create_task(service.keep_time()), asyncio.create_task(service.follow())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
