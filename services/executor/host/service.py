"""The executor's host role on the bus: commands in, facts out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.executor.guard.places import socket_path
from services.executor.host import convert
from services.executor.host.books import Entry, Fenced, TrialOver, TrialStopped, Withdrawn
from services.executor.host.exits import ExitClass
from services.executor.host.guarding import Guarding
from services.executor.host.journal import Journal
from services.executor.host.lease import Lease
from services.executor.host.lifesign import GuardLink
from services.executor.host.machine import this_machine
from services.executor.host.probing.probes import Probes
from services.executor.host.safeguards import HeldBackError
from services.executor.host.scheduler import HostScheduler
from services.executor.host.steering import Steering, deployment_errand
from services.executor.host.tokens import AGAIN_S, GATE_S, Tokens
from services.executor.host.trial import DisturbedError, Trial, errand, refused
from shared import attributes as names
from shared.errors import CoxswainError, SchedulerError
from shared.expiry import expired
from shared.messages import (
    ConfirmCommand,
    Confirmed,
    DeployCommand,
    Deployed,
    Measurement,
    MeasureRequest,
    PrepareProbe,
    Replaced,
    ResetRequest,
    RevertCommand,
    Reverted,
    RevertRequest,
    Round,
    RunProbe,
    SchedulerState,
    SealCommand,
    StateRequest,
    StopCommand,
    TokenReply,
    TokenRequest,
    TrialCommand,
    TrialEnded,
)
from shared.metrics import declared
from shared.signing import Trusted
from shared.tasks import end, together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.executor.host.machine import Here
    from services.executor.host.permit import Permit
    from services.executor.host.scheduler import Departure, Scheduler
    from shared.bus import Bus, Delivery
    from shared.messages import ExitRecord
    from shared.settings import Settings
    from shared.telemetry import Span, Telemetry

LOOK_S = 1.0
"""How often is looked whether the bus is back, and for the lease."""
ASK_S = 10.0
"""How long one question to the gate may take."""

log = structlog.get_logger(__name__)


class HostExecutor:
    """Carries out what the planner decided for this host, one thing at a time."""

    def __init__(self, bus: Bus, telemetry: Telemetry, steering: Steering) -> None:
        self._bus = bus
        self._telemetry = telemetry
        self._steering = steering
        self._turn = asyncio.Lock()
        self._running: Trial | None = None
        self._placing: DeployCommand | None = None
        self._probes = Probes(
            telemetry, lambda: "a trial or a deployment" if self._turn.locked() else ""
        )

    async def start(self) -> None:
        """Serve this host; what the journal says is kept is loaded first."""
        host = self._steering.host
        self._telemetry.metrics.expose(*declared.HOST)
        await self._begin()
        subjects = self._bus.subjects
        await self._bus.serve(
            subjects.endpoint("executor", "state", host), StateRequest, self._state, queue=host
        )
        await self._bus.serve(
            subjects.endpoint("executor", "revert", host), RevertRequest, self._revert, queue=host
        )
        await self._bus.serve(
            subjects.endpoint("executor", "reset", host), ResetRequest, self._reset, queue=host
        )
        await self._bus.serve(
            subjects.endpoint("executor", "prepare", host),
            PrepareProbe,
            self._probes.prepare,
            queue=host,
        )
        await self._bus.serve(
            subjects.endpoint("executor", "probe", host), RunProbe, self._probes.run, queue=host
        )
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("executor", "host", host),
            {
                "trial": (TrialCommand, self._trial),
                "stop": (StopCommand, self._stop),
                "deploy": (DeployCommand, self._deploy),
                "confirm": (ConfirmCommand, self._confirm),
                "seal": (SealCommand, self._seal),
                "revert": (RevertCommand, self._revert_command),
            },
            host=host,
            concurrency=8,
        )

    async def _begin(self) -> None:
        kept = self._steering.books.kept
        reason = await self._steering.recover()
        if reason and kept is not None:
            self._steering.settle(kept.command.optimization)
            self._telemetry.metrics.count(declared.REVERTS, cause="start")
            await self._tell_reverted(kept.command.optimization, reason)
        await self._steering.report()

    # Trials -------------------------------------------------------------------------------

    async def _trial(self, command: TrialCommand, delivery: Delivery) -> None:
        async with self._turn:
            await self._probes.abandon("a trial begins")
            ended = self._steering.books.over.get(command.trial)
            if ended is None:
                ended = await self._try(command, delivery)
                self._steering.write(TrialOver(ended))
        await self._bus.publish(
            self._told("trial_ended", command.optimization),
            ended,
            message_id=f"{command.trial}-ended",
        )

    async def _try(self, command: TrialCommand, delivery: Delivery) -> TrialEnded:
        host = self._steering.host
        if command.trial in self._steering.books.stopped:
            why = SchedulerError(f"stopped: {self._steering.books.stopped[command.trial]}")
            return refused(command, host, "stopped", why)
        late = expired(command.expires_unix_ns) or self._fence(command.fence)
        if late is not None:
            return refused(command, host, "interrupted", late)
        try:
            self._steering.safeguards.check(command.artifact.sha256)
        except HeldBackError as held_back:
            return refused(command, host, held_back.end, held_back)
        with self._telemetry.span(
            "trial",
            of=command.policy,
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.TRIAL_ID: command.trial,
                names.TRIAL_STAGE: command.spec.stage,
                names.POLICY_NAME: command.policy,
                names.POLICY_VERSION: command.version,
                names.POLICY_PARAMETERS: [f"{k}={v}" for k, v in command.parameters.items()],
                names.ARTIFACT_SHA256: command.artifact.sha256,
                names.WORKLOAD_NAME: command.workload,
                names.WORKLOAD_BESIDE: command.beside,
                names.SEED: command.seed,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            artifact = await self._artifact(command.artifact.sha256)
            done = len(self._steering.books.rounds.get(command.trial, {}))
            wanted = errand(command, done, time.time_ns())

            async def leave() -> Permit:
                return await self._steering.permit(wanted, patience_s=GATE_S)

            async def measure(request: MeasureRequest) -> Measurement:
                return await self._bus.ask(
                    self._bus.subjects.endpoint("observer", "measure", host),
                    request,
                    Measurement,
                    timeout_s=command.measure_timeout_s,
                )

            trial = Trial(
                command, self._steering, measure, self._tell_round, delivery.deliveries, leave
            )
            self._running = trial
            self._end_unstoppable()
            kept = self._steering.kept
            try:
                ended = await trial.run(artifact)
            finally:
                self._running = None
            if ended.end == "interrupted" and ended.exit_record and not self._steering.kept:
                # The trial's baseline left by itself: nobody else has told of it.
                self._telemetry.metrics.count(declared.REVERTS, cause="departure")
                dropped = self._steering.books.why_dropped
                await self._tell_reverted(kept, dropped, ended.exit_record)
            span.set(
                {
                    names.TRIAL_END: ended.end,
                    names.TRIAL_PAIRS: ended.pairs,
                    names.COST_WALL_S: ended.cost.wall_s,
                }
            )
            if ended.problem is not None:
                span.fail(str(ended.problem), kind=ended.problem.kind)
            return ended

    def _told(self, fact: str, optimization: str) -> str:
        """Where this host says what happened on it."""
        return self._bus.subjects.event("executor", fact, optimization, self._steering.host)

    async def _tell_round(self, done: Round) -> None:
        await self._bus.publish(
            self._told("round", done.optimization),
            done,
            message_id=f"{done.trial}-{done.index}",
        )

    async def _stop(self, command: StopCommand, _delivery: Delivery) -> None:
        self._steering.take_to_heart(TrialStopped(command.trial, command.reason))
        running = self._running
        if running is not None and running.command.trial == command.trial:
            running.stop()

    # Deployments --------------------------------------------------------------------------

    async def _deploy(self, command: DeployCommand, _delivery: Delivery) -> None:
        with self._telemetry.span(
            "deploy",
            of=self._steering.host,
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.POLICY_NAME: command.policy,
                names.POLICY_VERSION: command.version,
                names.POLICY_PARAMETERS: [f"{k}={v}" for k, v in command.parameters.items()],
                names.ARTIFACT_SHA256: command.artifact.sha256,
            },
        ) as span:
            async with self._turn:
                await self._probes.abandon("a deployment begins")
                self._placing = command
                try:
                    deployed = await self._put(command)
                finally:
                    self._placing = None
            deployed = msgspec.structs.replace(deployed, traceparent=span.traceparent)
            _say(span, deployed)
            if deployed.state is not None:
                span.set({names.SCHEDULER_GAP_NS: deployed.gap_ns})
        await self._bus.publish(
            self._told("deployed", command.optimization),
            deployed,
            message_id=f"{command.optimization}-deployed-{self._steering.host}",
        )

    async def _put(self, command: DeployCommand) -> Deployed:
        host = self._steering.host
        before = self._steering.books.kept
        replaced = None
        if before is not None and before.command.optimization != command.optimization:
            replaced = Replaced(
                optimization=before.command.optimization, workloads=before.command.workloads
            )
        try:
            late = expired(command.expires_unix_ns) or self._fence(command.fence)
            if late is not None:
                raise late
            artifact = await self._artifact(command.artifact.sha256)
            self._check_not_withdrawn(command.optimization)
            permit = await self._steering.permit(
                deployment_errand(command, "deploy"), patience_s=GATE_S
            )
            self._check_not_withdrawn(command.optimization)
            gap_ns = await self._steering.place(permit, artifact, command)
            await asyncio.sleep(command.soak_s)
            departure = await self._steering.departed()
            if departure is not None:
                return Deployed(
                    optimization=command.optimization,
                    host=host,
                    problem=SchedulerError(
                        f"{command.policy} left while it soaked: {departure.diagnosis.words}"
                    ).problem,
                    exit_record=convert.departure(departure),
                )
            self._check_not_withdrawn(command.optimization)
            await self._steering.keep(command)
        except CoxswainError as error:
            await self._steering.restore("the deployment failed")
            return Deployed(optimization=command.optimization, host=host, problem=error.problem)
        return Deployed(
            optimization=command.optimization,
            host=host,
            state=await self._steering.state(),
            replaced=replaced,
            gap_ns=gap_ns,
        )

    def _check_not_withdrawn(self, optimization: str) -> None:
        if optimization in self._steering.books.withdrawn:
            raise SchedulerError(
                f"{optimization} was taken back from this host",
                expected="a deployment that comes before its optimization's end",
                advice="Nothing needs to be done: the host is on what it ran before.",
            )

    async def _confirm(self, command: ConfirmCommand, delivery: Delivery) -> None:
        """Whether what was deployed still runs, by the kernel's own word."""
        with self._telemetry.span(
            "confirm",
            of=self._steering.host,
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            async with self._turn:
                confirmed = await self._look(command)
            _say(span, confirmed)
        await self._bus.publish(
            self._told("confirmed", command.optimization),
            confirmed,
            message_id=f"{command.optimization}-confirmed-{self._steering.host}",
        )

    async def _look(self, command: ConfirmCommand) -> Confirmed:
        departure = await self._steering.departed()
        if departure is not None:
            # The watcher may not have had its turn yet: a benign departure is mended first.
            await self._on_departure(departure)
        state = await self._steering.state()
        kept = self._steering.books.kept
        here = kept is not None and kept.command.optimization == command.optimization
        problem = expired(command.expires_unix_ns)
        if not here or not state.ours or state.optimization != command.optimization:
            problem = SchedulerError(
                "it does not run here any more",
                expected=f"what {command.optimization} has deployed",
                got=self._steering.books.why_dropped or state.ops or "the kernel's default",
            )
        return Confirmed(
            optimization=command.optimization,
            host=self._steering.host,
            problem=problem.problem if problem is not None else None,
            exit_record=convert.departure(departure) if departure is not None else None,
            state=state,
            counters=await self._steering.scheduler.counters() if state.ours else {},
        )

    # Going back ---------------------------------------------------------------------------

    async def _revert(self, request: RevertRequest) -> SchedulerState:
        """The operator's way back: at once, even in the middle of a trial."""
        await self.take_back(request.optimization, request.reason, cause="operator")
        return await self._steering.state()

    async def _reset(self, _request: ResetRequest) -> SchedulerState:
        """The operator knows what caused the trouble here."""
        self._steering.safeguards.reset()
        await self._steering.report()
        return await self._steering.state()

    async def _seal(self, command: SealCommand, _delivery: Delivery) -> None:
        async with self._turn:  # a deployment that is being soaked is kept after this, or never
            await self._steering.seal(command.optimization, command.tried)

    async def _revert_command(self, command: RevertCommand, _delivery: Delivery) -> None:
        with self._telemetry.span(
            "revert",
            of=self._steering.host,
            attributes={names.OPTIMIZATION_ID: command.optimization},
        ) as span:
            if self._steering.books.sealed and command.optimization == self._steering.kept:
                refusal = SchedulerError(
                    f"{command.optimization} was promoted: no planner takes it back",
                    expected="an operator's order",
                    got=f"a planner's: {command.reason}",
                    advice=f"`cox revert {self._steering.host}` takes it back.",
                )
                log.error("revert.refused", problem=str(refusal))
                span.fail(str(refusal), kind=refusal.problem.kind)
                return
            await self.take_back(command.optimization, command.reason, cause="planner")
        await self._tell_reverted(command.optimization, command.reason)

    async def take_back(self, optimization: str, reason: str, *, cause: str) -> None:
        """Back to the default, at once; only if it is of that optimization, where one is named.

        Whether or not that can be written down: a full disk keeps nothing in charge.
        """
        reverted = False
        placing = self._placing
        if placing is not None and optimization in {"", placing.optimization}:
            # Noticed before it is kept: the command that runs finds itself withdrawn.
            self._steering.take_to_heart(Withdrawn(placing.optimization))
            reverted = await self._steering.clear(reason)
        elif optimization and optimization not in self._steering.books.withdrawn:
            # A deployment that is still on its way must not undo this.
            self._steering.take_to_heart(Withdrawn(optimization))
        running = self._running
        if running is not None and optimization in {"", running.command.optimization}:
            self._steering.take_to_heart(TrialStopped(running.command.trial, reason))
            running.stop()
            # Not waiting for the round that runs: the trial finds its scheduler gone.
            reverted |= await self._steering.clear(reason)
        kept = self._steering.books.kept
        if kept is not None and optimization in {"", kept.command.optimization}:
            reverted |= await self._steering.drop(reason)
        if reverted:
            self._telemetry.metrics.count(declared.REVERTS, cause=cause)

    async def _tell_reverted(
        self, optimization: str, reason: str, left: ExitRecord | None = None
    ) -> None:
        await self._bus.publish(
            self._told("reverted", optimization),
            Reverted(
                optimization=optimization,
                host=self._steering.host,
                reason=reason,
                state=await self._steering.state(),
                exit_record=left,
            ),
            message_id=f"{optimization}-reverted-{self._steering.host}-{time.time_ns()}",
        )

    async def close(self) -> None:
        """End what would outlive this."""
        await self._probes.abandon("the executor stops")

    async def keep(self) -> None:
        """All that goes on beside commands, for ever."""
        await together(
            self._watch(),
            self._keep_lease(),
            self._keep_promise(),
            self._keep_telling(),
            self._keep_footing(),
        )

    async def _keep_footing(self) -> None:
        """Deal with what is lost from the bus: end a trial that nobody can stop any more.

        What this host has said of itself may be lost, too, so it is said again.
        """
        shaken = asyncio.Event()
        self._bus.footing.on_change(shaken.set)
        try:
            while True:
                await shaken.wait()
                shaken.clear()
                self._end_unstoppable()
                await self._steering.report()
        finally:
            self._bus.footing.on_change(shaken.set, no_more=True)

    def _end_unstoppable(self) -> None:
        if self._running is None or not self._without_queue:
            return
        self._running.break_off(
            DisturbedError(
                "the queue of this host's orders is gone from the bus",
                expected="a queue by which the trial could be stopped",
                got="none",
                advice="Ask again once it is there.",
            )
        )

    @property
    def _without_queue(self) -> bool:
        subjects, host = self._bus.subjects, self._steering.host
        return self._bus.footing.is_lost(
            subjects.stream("COMMANDS", host), subjects.consumer("executor", "host", host)
        )

    @property
    def _unreachable(self) -> bool:
        """Whether nobody can order anything here: without the bus, or without our queue on it."""
        return not self._bus.nc.is_connected or self._without_queue

    async def _until_unreachable(self) -> None:
        while not self._unreachable:
            waits = [
                asyncio.create_task(self._bus.away()),
                asyncio.create_task(self._bus.footing.changed()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end(waits)
            # Away a moment before the bus is told so, and the other way round.
            await asyncio.sleep(0 if self._unreachable else LOOK_S)

    async def _keep_lease(self) -> None:
        """Take a promotion back when nobody can reach this host for longer than it allows."""
        while True:
            await self._until_unreachable()
            lease = Lease(time.monotonic())
            while self._unreachable:
                kept = self._steering.books.kept
                if kept is not None and lease.over(kept.command.lease_s, time.monotonic()):
                    try:
                        async with self._turn:
                            await self._end_lease()
                    except CoxswainError as error:
                        log.warning("lease.not_ended", problem=str(error))
                await asyncio.sleep(LOOK_S)
            # Connected a moment before the bus is told so: without a pause this would turn for ever
            # in that moment, and nobody could tell it.
            await asyncio.sleep(LOOK_S)

    async def _end_lease(self) -> None:
        kept = self._steering.books.kept
        if kept is None:
            return
        lease_s = kept.command.lease_s
        away = "the bus" if not self._bus.nc.is_connected else "the queue of orders on the bus"
        await self._steering.lose(f"{away} was away for longer than the lease of {lease_s:g} s")

    async def _keep_telling(self) -> None:
        """Tell the fleet of reverts that nobody has asked for, once the bus is there."""
        steering = self._steering
        while True:
            await steering.owing.wait()
            for optimization, (reason, left) in list(steering.owed.items()):
                with contextlib.suppress(CoxswainError):  # the bus is away, mostly
                    await self._tell_reverted(optimization, reason, left)
                    steering.settle(optimization)
            if steering.owed:
                await asyncio.sleep(LOOK_S)

    async def _keep_promise(self) -> None:
        """Load again what is kept, once the gate can be asked; not for longer than its lease."""
        while True:
            await self._steering.pending.wait()
            since_s = time.monotonic()
            while self._steering.pending.is_set():
                await asyncio.sleep(AGAIN_S)
                try:
                    async with self._turn:
                        await self._go_on_restoring(since_s)
                except CoxswainError as error:
                    log.warning("promise.not_kept", problem=str(error))

    async def _go_on_restoring(self, since_s: float) -> None:
        await self._steering.restore_due()
        kept = self._steering.books.kept
        if not self._steering.due or kept is None:
            self._steering.pending.clear()
        elif time.monotonic() - since_s >= kept.command.lease_s:
            reason = (
                f"the gate gave no token within the lease of {kept.command.lease_s:g} s: "
                f"{self._steering.why_pending}"
            )
            await self._steering.lose(reason)
            self._steering.pending.clear()

    async def _watch(self) -> None:
        """A kept candidate that leaves by itself: loaded again if that is benign, else dropped."""
        async for departure in self._steering.scheduler.watch():
            async with self._turn:
                try:
                    await self._on_departure(departure)
                except CoxswainError as error:  # a full disk, mostly
                    log.warning("departure.not_followed", problem=str(error))
                    if not (await self._steering.state()).ours:
                        await self._steering.lose(f"it left, and no more could be done: {error}")

    async def _on_departure(self, departure: Departure) -> None:
        self._steering.safeguards.departed(departure)
        kept = self._steering.books.kept
        state = await self._steering.scheduler.state()
        if kept is None or state.ours is not None or self._steering.due:
            await self._steering.report()
            return
        words = departure.diagnosis.words
        benign = departure.diagnosis.exit_class is ExitClass.BENIGN
        boot_id = self._steering.boot_id
        if benign and self._steering.books.may_reload(time.time_ns(), boot_id):
            self._steering.reloading(words)
            await self._steering.restore(words)
            return
        self._telemetry.metrics.count(declared.REVERTS, cause="departure")
        await self._steering.drop(words)
        await self._steering.report()
        await self._tell_reverted(kept.command.optimization, words, convert.departure(departure))

    def _fence(self, fence: int) -> SchedulerError | None:
        """Nothing, and earlier owners are shut out; or why this one is itself."""
        seen = self._steering.books.fence
        if fence < seen:
            return SchedulerError(
                "the command is of an earlier owner of this host",
                expected=f"fencing token {seen} or a later one",
                got=str(fence),
                advice="Nothing needs to be done: its optimization has lost its claim.",
            )
        if fence > seen:
            self._steering.write(Fenced(fence))
        return None

    # Small parts --------------------------------------------------------------------------

    async def _state(self, _request: StateRequest) -> SchedulerState:
        return await self._steering.state()

    async def _artifact(self, sha256: str) -> bytes:
        data = await self._bus.get_artifact(sha256)
        self._steering.cache(data)
        return data


def _say(span: Span, answer: Deployed | Confirmed) -> None:
    """What the kernel runs now, and what went wrong, into the span."""
    if answer.state is not None:
        span.set({names.SCHEDULER_STATE: answer.state.state, names.SCHEDULER_OPS: answer.state.ops})
    if answer.problem is not None:
        span.fail(str(answer.problem), kind=answer.problem.kind)


@contextlib.asynccontextmanager
async def host_role(
    settings: Settings,
    bus: Bus,
    telemetry: Telemetry,
    scheduler: Scheduler | None = None,
    here: Here | None = None,
) -> AsyncIterator[None]:
    """Steer this host while the context is open; the kernel's default afterwards.

    `scheduler` and `here` stand for another machine than this one (bench/hosts). Raises InputError
    without the gate's public keys: nothing could be loaded.
    """
    Trusted.read(settings.trusted_keys)
    folder = settings.state_dir / "executor"
    records = await bus.records("hosts", SchedulerState)

    async def report(state: SchedulerState) -> None:
        await records.put(f"{settings.host}.scheduler", state)

    async def ask(request: TokenRequest) -> TokenReply:
        subject = bus.subjects.endpoint("executor", "token", settings.host)
        return await bus.ask(subject, request, TokenReply, timeout_s=ASK_S)

    # A made-up machine has no kernel that could need a guard.
    link = None
    if scheduler is None:
        link = GuardLink(socket_path())
        scheduler = HostScheduler(metrics=telemetry.metrics)
    if here is None:
        here = await asyncio.to_thread(this_machine, settings.host)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with Journal[Entry](folder / "journal", Entry) as journal:  # type: ignore[arg-type]
        steering = Steering(
            Tokens(here, settings.trusted_keys, ask),
            scheduler,
            journal,
            folder / "artifacts",
            report,
            guard=link,
            metrics=telemetry.metrics,
        )
        executor = HostExecutor(bus, telemetry, steering)
        tasks = [bus.forever(executor.keep())]
        try:
            if link is not None:
                guarding = Guarding(link, steering, executor, telemetry.metrics)
                tasks.append(bus.forever(link.keep(lambda: steering.books.guard_heard)))
                await guarding.begin()
                tasks.append(bus.forever(guarding.watch()))
            await executor.start()
            yield
        finally:
            await executor.close()
            await end(tasks)
            await scheduler.close()
            await steering.report()
