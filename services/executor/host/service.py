"""The executor's host role on the bus: commands in, facts out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.executor.host import convert
from services.executor.host.books import Entry, Fenced, Reloaded, TrialOver, TrialStopped, Withdrawn
from services.executor.host.exits import ExitClass
from services.executor.host.journal import Journal
from services.executor.host.lease import Lease
from services.executor.host.scheduler import HostScheduler
from services.executor.host.steering import Steering
from services.executor.host.trial import Trial, refused
from shared import attributes as names
from shared.errors import BusError, CoxswainError, SchedulerError
from shared.messages import (
    ConfirmCommand,
    Confirmed,
    DeployCommand,
    Deployed,
    Measurement,
    MeasureRequest,
    RevertCommand,
    Reverted,
    RevertRequest,
    Round,
    SchedulerState,
    StateRequest,
    StopCommand,
    TrialCommand,
    TrialEnded,
)
from shared.metrics import declared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.executor.host.scheduler import Departure, Scheduler
    from shared.bus import Bus, Delivery
    from shared.messages import ExitRecord
    from shared.settings import Settings
    from shared.telemetry import Span, Telemetry

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOOK_S = 1.0
"""How often the bus is looked at, for the lease."""

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
        self._owed: dict[str, str] = {}
        """Reverts that the fleet has not heard of: the reason, by optimization."""

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
        self._bus.consume(
            "COMMANDS",
            subjects.consumer("executor", "host", host),
            {
                "trial": (TrialCommand, self._trial),
                "stop": (StopCommand, self._stop),
                "deploy": (DeployCommand, self._deploy),
                "confirm": (ConfirmCommand, self._confirm),
                "revert": (RevertCommand, self._revert_command),
            },
            host=host,
            concurrency=8,
        )

    async def _begin(self) -> None:
        kept = self._steering.books.kept
        reason = await self._steering.recover()
        if reason and kept is not None:
            self._telemetry.metrics.count(declared.REVERTS, cause="start")
            await self._tell_reverted(kept.command.optimization, reason)
        await self._steering.report()

    # Trials -------------------------------------------------------------------------------

    async def _trial(self, command: TrialCommand, delivery: Delivery) -> None:
        async with self._turn:
            ended = self._steering.books.over.get(command.trial)
            if ended is None:
                ended = await self._try(command, delivery)
                self._steering.write(TrialOver(ended))
        await self._bus.publish(
            self._bus.subjects.event("executor", "trial_ended", command.optimization),
            ended,
            message_id=f"{command.trial}-ended",
        )

    async def _try(self, command: TrialCommand, delivery: Delivery) -> TrialEnded:
        host = self._steering.host
        if command.trial in self._steering.books.stopped:
            why = SchedulerError(f"stopped: {self._steering.books.stopped[command.trial]}")
            return refused(command, host, "stopped", why)
        late = _expired(command.expires_unix_ns) or self._fence(command.fence)
        if late is not None:
            return refused(command, host, "interrupted", late)
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
                names.SEED: command.seed,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            artifact = await self._artifact(command.artifact.sha256)

            async def measure(request: MeasureRequest) -> Measurement:
                return await self._bus.ask(
                    self._bus.subjects.endpoint("observer", "measure", host),
                    request,
                    Measurement,
                    timeout_s=command.measure_timeout_s,
                )

            trial = Trial(command, self._steering, measure, self._tell_round, delivery.deliveries)
            self._running = trial
            try:
                ended = await trial.run(artifact)
            finally:
                self._running = None
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

    async def _tell_round(self, done: Round) -> None:
        await self._bus.publish(
            self._bus.subjects.event("executor", "round", done.optimization),
            done,
            message_id=f"{done.trial}-{done.index}",
        )

    async def _stop(self, command: StopCommand, _delivery: Delivery) -> None:
        self._steering.write(TrialStopped(command.trial, command.reason))
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
            self._bus.subjects.event("executor", "deployed", command.optimization),
            deployed,
            message_id=f"{command.optimization}-deployed-{self._steering.host}",
        )

    async def _put(self, command: DeployCommand) -> Deployed:
        host = self._steering.host
        try:
            late = _expired(command.expires_unix_ns) or self._fence(command.fence)
            if late is not None:
                raise late
            artifact = await self._artifact(command.artifact.sha256)
            self._check_not_withdrawn(command.optimization)
            gap_ns = await self._steering.load(
                artifact, command.policy, command.parameters, "deployed", command.optimization
            )
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
            self._bus.subjects.event("executor", "confirmed", command.optimization),
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
        problem = _expired(command.expires_unix_ns)
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
        await self._take_back(request.optimization, request.reason, cause="operator")
        return await self._steering.state()

    async def _revert_command(self, command: RevertCommand, _delivery: Delivery) -> None:
        with self._telemetry.span(
            "revert",
            of=self._steering.host,
            attributes={names.OPTIMIZATION_ID: command.optimization},
        ):
            await self._take_back(command.optimization, command.reason, cause="planner")
        await self._tell_reverted(command.optimization, command.reason)

    async def _take_back(self, optimization: str, reason: str, *, cause: str) -> None:
        reverted = False
        placing = self._placing
        if placing is not None and optimization in {"", placing.optimization}:
            # Noticed before it is kept: the command that runs finds itself withdrawn.
            self._steering.write(Withdrawn(placing.optimization))
            reverted = await self._steering.clear(reason)
        elif optimization and optimization not in self._steering.books.withdrawn:
            # A deployment that is still on its way must not undo this.
            self._steering.write(Withdrawn(optimization))
        running = self._running
        if running is not None and optimization in {"", running.command.optimization}:
            self._steering.write(TrialStopped(running.command.trial, reason))
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
            self._bus.subjects.event("executor", "reverted", optimization),
            Reverted(
                optimization=optimization,
                host=self._steering.host,
                reason=reason,
                state=await self._steering.state(),
                exit_record=left,
            ),
            message_id=f"{optimization}-reverted-{self._steering.host}-{time.time_ns()}",
        )

    async def keep_lease(self) -> None:
        """Take a promotion back when the bus is away for longer than it allows."""
        lease = Lease(time.monotonic())
        while True:
            await asyncio.sleep(LOOK_S)
            kept = self._steering.books.kept
            connected = self._bus.nc.is_connected
            lease_s = kept.command.lease_s if kept is not None else float("inf")
            if lease.expired(connected=connected, now_s=time.monotonic(), lease_s=lease_s):
                try:
                    async with self._turn:
                        await self._end_lease()
                except CoxswainError as error:
                    log.warning("lease.not_ended", problem=str(error))
            elif connected and self._owed:
                await self._tell_owed()

    async def _end_lease(self) -> None:
        kept = self._steering.books.kept
        if kept is None:
            return
        command = kept.command
        reason = f"the bus was away for longer than the lease of {command.lease_s:g} s"
        self._owed[command.optimization] = reason
        await self._steering.drop(reason)

    async def _tell_owed(self) -> None:
        for optimization, reason in list(self._owed.items()):
            with contextlib.suppress(BusError):
                await self._tell_reverted(optimization, reason)
                self._owed.pop(optimization)

    async def watch(self) -> None:
        """A kept candidate that leaves by itself: loaded again if that is benign, else dropped."""
        async for departure in self._steering.scheduler.watch():
            async with self._turn:
                await self._on_departure(departure)

    async def _on_departure(self, departure: Departure) -> None:
        kept = self._steering.books.kept
        state = await self._steering.scheduler.state()
        if kept is None or state.ours is not None:
            await self._steering.report()
            return
        words = departure.diagnosis.words
        benign = departure.diagnosis.exit_class is ExitClass.BENIGN
        if benign and self._steering.books.may_reload(time.time_ns()):
            self._steering.write(Reloaded(time.time_ns()))
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


def _expired(expires_unix_ns: int) -> SchedulerError | None:
    now = time.time_ns()
    if not expires_unix_ns or now < expires_unix_ns:
        return None
    return SchedulerError(
        "the command came too late",
        expected="to begin before its optimization's budget ends",
        got=f"{(now - expires_unix_ns) / 1e9:.0f} s after it",
        advice="Ask again; if it happens often, look at the clocks of the hosts.",
    )


@contextlib.asynccontextmanager
async def host_role(
    settings: Settings, bus: Bus, telemetry: Telemetry, scheduler: Scheduler | None = None
) -> AsyncIterator[None]:
    """Steer this host while the context is open; the kernel's default afterwards.

    `scheduler` stands for another machine than this one (bench/hosts).
    """
    folder = settings.state_dir / "executor"
    records = await bus.records("hosts", SchedulerState)

    async def report(state: SchedulerState) -> None:
        await records.put(f"{settings.host}.scheduler", state)

    scheduler = scheduler or HostScheduler(metrics=telemetry.metrics)
    boot_id = await asyncio.to_thread(BOOT_ID.read_text)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with Journal[Entry](folder / "journal", Entry) as journal:  # type: ignore[arg-type]
        steering = Steering(
            settings.host,
            boot_id.strip(),
            scheduler,
            journal,
            folder / "artifacts",
            report,
        )
        executor = HostExecutor(bus, telemetry, steering)
        tasks = [
            asyncio.create_task(executor.watch()),
            asyncio.create_task(executor.keep_lease()),
        ]
        try:
            await executor.start()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await scheduler.close()
            await steering.report()
