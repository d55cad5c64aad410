"""The executor's gate role on the bus: a build command in, an artifact or reasons out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from services.executor.gate.leave import objectives
from services.executor.gate.pipeline import Accepted, BuildRequest, Rejected, build
from services.executor.gate.requests import Requests
from services.executor.gate.sandbox import Sandbox, SandboxStage
from services.executor.gate.sandbox.pool import sandbox_image
from services.executor.gate.tokens import TokenDesk
from services.executor.gate.workshop import Workshop
from shared import attributes as names
from shared.errors import CoxswainError, InputError
from shared.expiry import expired
from shared.messages import BuildCommand, Built, Checked, CheckRequest, Cost, Inventory
from shared.metrics import declared
from shared.policies import Catalogue
from shared.signing import Signer
from shared.workloads import Catalogue as Workloads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.executor.gate.stage import Stage
    from shared.bus import Bus, Delivery
    from shared.messages import Made
    from shared.policies import Policy
    from shared.settings import Settings
    from shared.telemetry import Telemetry
    from shared.telemetry.spans import Span

CHECKS = 1
"""At a time, of hooks that somebody is writing: what is built for hosts comes first."""

log = structlog.get_logger(__name__)


class Gate:
    """Builds policies for the whole fleet; whoever wrote one, the same stages judge it."""

    def __init__(
        self,
        bus: Bus,
        telemetry: Telemetry,
        workshop: Workshop,
        policies: Catalogue,
        desk: TokenDesk,
        sandbox: Stage | None = None,
        *,
        made: bool = True,
    ) -> None:
        self._allow_made = made
        self._checking = asyncio.Semaphore(CHECKS)
        self._bus = bus
        self._sandbox = sandbox
        self._desk = desk
        self._telemetry = telemetry
        self._workshop = workshop
        self._policies = policies

    async def start(self) -> None:
        """Take build commands, and hosts' questions for tokens."""
        self._telemetry.metrics.expose(*declared.GATE)
        await self._desk.start()
        subjects = self._bus.subjects
        await self._bus.serve(
            subjects.endpoint("executor", "check"), CheckRequest, self._check, queue="gate"
        )
        self._bus.depend(subjects.stream("REQUESTS"))
        self._bus.depend(f"OBJ_{subjects.bucket('artifacts')}")
        self._bus.consume(
            "COMMANDS",
            self._bus.subjects.consumer("executor", "gate"),
            {"build": (BuildCommand, self._build)},
            concurrency=2,
        )

    async def _build(self, command: BuildCommand, delivery: Delivery) -> None:
        started = time.monotonic()
        with self._telemetry.span(
            "build",
            of=command.policy,
            attributes={
                names.OPTIMIZATION_ID: command.optimization,
                names.POLICY_NAME: command.policy,
                names.DELIVERIES: delivery.deliveries,
            },
        ) as span:
            try:
                built = await self._made(command, span, started)
            except CoxswainError as error:
                span.fail(str(error), kind=type(error).__name__)
                built = Built(
                    optimization=command.optimization,
                    policy=command.policy,
                    problem=error.problem,
                    cost=Cost(wall_s=time.monotonic() - started),
                )
        built = msgspec.structs.replace(built, unix_ns=time.time_ns(), made=command.made)
        self._count(built)
        await self._bus.publish(
            self._bus.subjects.event("executor", "built", command.optimization),
            built,
            message_id=f"{command.optimization}-built-{command.policy}",
        )

    def _count(self, built: Built) -> None:
        metrics = self._telemetry.metrics
        if built.problem is not None:
            outcome = "failed"
        else:
            outcome = "accepted" if built.artifact is not None else "rejected"
        metrics.count(declared.BUILDS, outcome=outcome)
        metrics.observe(declared.BUILDING, built.cost.wall_s)

    async def _made(self, command: BuildCommand, span: Span, started: float) -> Built:
        if (late := expired(command.expires_unix_ns)) is not None:
            raise late
        policy = self._policy(command.policy, command.made)
        result = await asyncio.to_thread(
            build, BuildRequest.of(policy), self._workshop, sandbox=self._sandbox
        )
        span.set({names.GATE_SANDBOXED: self._sandbox is not None})
        for verdict in result.verdicts:
            span.event(
                "gate.stage_done",
                {
                    names.GATE_STAGE: verdict.stage,
                    names.OUTCOME: "passed" if verdict.passed else "rejected",
                    names.COST_WALL_S: verdict.seconds,
                },
            )
        cost = Cost(wall_s=time.monotonic() - started)
        match result:
            case Rejected(stage=stage, reasons=reasons):
                # A rejection is what the gate is for: an outcome, not an error.
                _mark_rejected(span, result)
                self._telemetry.metrics.count(declared.REJECTIONS, stage=stage)
                log.info("gate.rejected", policy=command.policy, stage=stage)
                return Built(
                    optimization=command.optimization,
                    policy=command.policy,
                    reasons=reasons,
                    cost=cost,
                )
            case Accepted(artifact=artifact, object=data):
                digest = await self._bus.put_artifact(data)
                await self._desk.vouch(artifact, command.made)
                span.set({names.ARTIFACT_SHA256: digest})
                log.info("gate.accepted", policy=command.policy, artifact=digest[:12])
                return Built(
                    optimization=command.optimization,
                    policy=command.policy,
                    artifact=artifact,
                    cost=cost,
                )

    def _policy(self, name: str, made: Made | None) -> Policy:
        """What is to be built. Raises InputError, ManifestError."""
        if made is not None and not self._allow_made:
            raise InputError(
                "this gate builds nothing that a mind has made",
                expected="a policy that ships",
                got=name,
                advice="Set COX_MADE=on at the gate to allow it.",
            )
        return self._policies.policy(name, made)

    async def _check(self, request: CheckRequest) -> Checked:
        """Whether hooks would pass: for who is writing them. What is loaded is built anew."""
        with self._telemetry.span(
            "check", of=request.policy, attributes={names.POLICY_NAME: request.policy}
        ) as span:
            started = time.monotonic()
            try:
                policy = self._policy(request.policy, request.made)
                async with self._checking:
                    result = await asyncio.to_thread(build, BuildRequest.of(policy), self._workshop)
            except CoxswainError as error:
                span.fail(str(error), kind=type(error).__name__)
                return Checked(problem=error.problem, seconds=time.monotonic() - started)
            seconds = time.monotonic() - started
            if isinstance(result, Rejected):
                _mark_rejected(span, result)
                return Checked(reasons=result.reasons, seconds=seconds)
            return Checked(evidence=result.artifact.evidence, seconds=seconds)


def _mark_rejected(span: Span, result: Rejected) -> None:
    span.set(
        {
            names.OUTCOME: "rejected",
            names.GATE_STAGE: result.stage,
            names.GATE_REASONS: [f"{r.rule}: {r.text}" for r in result.reasons],
        }
    )


@contextlib.asynccontextmanager
async def gate_role(settings: Settings, bus: Bus, telemetry: Telemetry) -> AsyncIterator[None]:
    """Build policies and sign tokens while the context is open.

    Raises MachineError without a toolchain or a jail, or without a sandbox that the settings ask
    for; InputError without signing keys.
    """
    workshop, policies = Workshop(), Catalogue.load()
    await asyncio.to_thread(workshop.check_jail)
    Signer.read(settings.signing_seeds)
    log.info("gate.jail_holds", compiler=workshop.toolchain.version)
    async with _sandbox(settings) as sandbox:
        desk = TokenDesk(
            bus,
            settings.signing_seeds,
            workshop,
            policies,
            objectives(Workloads.load()),
            Requests(bus),
            await bus.records("hosts", Inventory),
            telemetry,
            sandbox=sandbox is not None,
        )
        gate = Gate(bus, telemetry, workshop, policies, desk, sandbox, made=settings.made)
        await gate.start()
        yield


@contextlib.asynccontextmanager
async def _sandbox(settings: Settings) -> AsyncIterator[Stage | None]:
    """The last stage, if the settings ask for it; said either way. Raises MachineError."""
    if not settings.sandbox:
        log.warning(
            "gate.sandbox_off",
            means="what is built is proven, but not besieged before a host loads it",
            advice="COX_SANDBOX=on, where lab guests can run",
        )
        yield None
        return
    verdicts = settings.state_dir / "sandbox"
    async with Sandbox(sandbox_image(), verdicts=verdicts) as sandbox:
        log.info("gate.sandbox_on", kernel=sandbox.kernel)
        yield SandboxStage(sandbox)
