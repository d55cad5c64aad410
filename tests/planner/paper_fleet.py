"""A fleet on paper: hosts and a gate that answer on a real bus, above no kernel.

The planner and the learner are the real ones; a mind that always wants the same is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable

from msgspec.structs import replace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.learner.service import Learner
from services.planner.incumbents import Incumbents
from services.planner.minds import Mind, Question
from services.planner.service import Planner
from services.planner.turns import Turns
from shared.bus import Bus, Delivery, connect
from shared.bus.provision import provision_host
from shared.messages import (
    BuildCommand,
    Built,
    ConfirmCommand,
    Confirmed,
    DeployCommand,
    Deployed,
    Heartbeat,
    Inventory,
    Loadable,
    Message,
    OptimizeReply,
    OptimizeRequest,
    Plan,
    ProbeCommand,
    Probed,
    Problem,
    Profile,
    ProfileCommand,
    Profiled,
    Replaced,
    RevertCommand,
    Reverted,
    Round,
    SchedulerState,
    SealCommand,
    StopCommand,
    TrialCommand,
    TrialEnded,
    Vitals,
)
from shared.metrics import Metrics
from shared.optimization import Optimization
from shared.policies import Catalogue as PolicyCatalogue
from shared.subjects import Subjects
from shared.telemetry import Telemetry, start_telemetry
from shared.telemetry.convert import to_record
from shared.telemetry.records import SpanRecord
from shared.workloads import Catalogue
from tests.planner.world import SECOND, artifact, candidate, inventory

POLICY = "latency"
FLEET = ["h1", "h2", "h3"]


class OneIdea:
    """A mind that proposes one policy whatever it is asked."""

    name = "one-idea"

    async def plan(self, question: Question) -> Plan:
        return Plan(
            optimization=question.optimization,
            mind=self.name,
            kind="reconfigure",
            considered=[],
            candidates=[
                replace(
                    candidate(POLICY),
                    version=question.policies[POLICY].manifest.version,
                    parameters=question.policies[POLICY].manifest.defaults,
                )
            ],
            why="it is the only one",
            confirm_pairs=min(10, question.request.budget.rounds),
        )


class PaperFleet:
    """Hosts that carry out everything at once; what they run is in `runs`."""

    def __init__(self, bus: Bus, *, waiting: Callable[[str], float] | None = None) -> None:
        """`waiting` says how long tasks wait on a host for each second they run."""
        self.bus = bus
        self.runs: dict[str, str] = {}
        self.sealed: dict[str, SealCommand] = {}
        self.unconfirmed: set[str] = set()
        self.trials: list[TrialCommand] = []
        self.builds: list[BuildCommand] = []
        self.profiles: list[ProfileCommand] = []
        self.hurts: dict[str, float] = {}
        """What candidates do to these metrics, as a ratio."""
        self.unmeasured: set[str] = set()
        """Metrics that no run has."""
        self._kept: dict[str, DeployCommand] = {}
        self.hold_trials = asyncio.Event()
        """Trials end when this is set."""
        self.hold_trials.set()
        self._waiting = waiting or (lambda _host: 0.3)
        self._waited: dict[str, tuple[float, float]] = {}
        self._ids = itertools.count()
        self._hosts: dict[str, Inventory] = {}
        self._beating: asyncio.Task[None] | None = None

    async def join(self, *hosts: str) -> None:
        await self.join_as(*map(inventory, hosts))

    async def join_as(self, *inventories: Inventory) -> None:
        """Hosts that are what they say."""
        records = await self.bus.records("hosts", Inventory)
        for each in inventories:
            await provision_host(self.bus.js, self.bus.subjects, each.host)
            await records.put(f"{each.host}.inventory", each)
            self._hosts[each.host] = each
            self._serve(each.host)
        await self._open_gate()
        self._beating = asyncio.create_task(self._beat())

    async def _open_gate(self) -> None:
        consumer = self.bus.subjects.consumer("executor", "gate")
        self.bus.consume("COMMANDS", consumer, {"build": (BuildCommand, self._build)})

    async def stop(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    def _serve(self, host: str) -> None:
        def at(handler: Callable[..., object]) -> Callable[..., object]:
            async def handle(command: Message, _delivery: Delivery) -> None:
                await handler(host, command)  # type: ignore[misc]

            return handle

        subjects = self.bus.subjects
        self.bus.consume(
            "COMMANDS",
            subjects.consumer("observer", "host", host),
            {
                "profile": (ProfileCommand, at(self._profile)),  # type: ignore[dict-item]
                "probe": (ProbeCommand, at(self._probe)),  # type: ignore[dict-item]
            },
            host=host,
            concurrency=2,
        )
        self.bus.consume(
            "COMMANDS",
            subjects.consumer("executor", "host", host),
            {
                "trial": (TrialCommand, at(self._trial)),  # type: ignore[dict-item]
                "stop": (StopCommand, at(self._stop)),  # type: ignore[dict-item]
                "deploy": (DeployCommand, at(self._deploy)),  # type: ignore[dict-item]
                "confirm": (ConfirmCommand, at(self._confirm)),  # type: ignore[dict-item]
                "seal": (SealCommand, at(self._seal)),  # type: ignore[dict-item]
                "revert": (RevertCommand, at(self._revert)),  # type: ignore[dict-item]
            },
            host=host,
            concurrency=4,
        )

    async def _beat(self) -> None:
        while True:
            for host in list(self._hosts):
                for service in ("observer", "executor"):
                    await self.bus.tell(
                        self.bus.subjects.heartbeat(service, host),  # type: ignore[arg-type]
                        Heartbeat(service=service, instance=host, host=host),
                    )
            await asyncio.sleep(0.5)

    async def _say(self, service: str, fact: str, message: Message) -> None:
        host = getattr(message, "host", None)
        subject = self.bus.subjects.event(service, fact, message.optimization, host)  # type: ignore[arg-type, attr-defined]
        await self.bus.publish(subject, message, message_id=f"paper-{next(self._ids)}")

    async def _build(self, command: BuildCommand, _delivery: Delivery) -> None:
        self.builds.append(command)
        built = Built(
            optimization=command.optimization,
            policy=command.policy,
            artifact=artifact(command.policy),
        )
        await self._say("executor", "built", built)

    async def _profile(self, host: str, command: ProfileCommand) -> None:
        self.profiles.append(command)
        profile = Profile(
            host=host,
            workload=command.workload,
            features={"hogs": 4.0},
            workload_class="latency-under-load",
            confidence=0.9,
            summary="busy",
        )
        await self._say(
            "observer",
            "profiled",
            Profiled(
                optimization=command.optimization,
                host=host,
                inventory=self._hosts[host],
                profile=profile,
            ),
        )

    async def _probe(self, host: str, command: ProbeCommand) -> None:
        """One CPU has been busy since the last look, and tasks have waited as they are told to."""
        now_s = time.monotonic()
        last_s, waited_s = self._waited.get(host, (now_s - 10, 0.0))
        waited_s += (now_s - last_s) * self._waiting(host)
        self._waited[host] = (now_s, waited_s)
        vitals = Vitals(
            boot_id="b" + host,
            at_ns=round(now_s * SECOND),
            run_ns=round(now_s * SECOND),
            wait_ns=round(waited_s * SECOND),
        )
        await self._say(
            "observer",
            "probed",
            Probed(optimization=command.optimization, host=host, mark=command.mark, vitals=vitals),
        )

    async def _trial(self, host: str, command: TrialCommand) -> None:
        self.trials.append(command)
        metrics = [
            each
            for each in (command.spec.objective, *command.spec.guardrails)
            if each.metric not in self.unmeasured
        ]
        better = 0.5 if command.spec.objective.direction == "lower" else 2.0
        for index in range(command.spec.max_pairs):
            shaken = 1.0 + 0.01 * (index % 3)
            baseline = {each.metric: 100.0 for each in metrics}
            measured = {name: value * self.hurts.get(name, 1.0) for name, value in baseline.items()}
            measured[command.spec.objective.metric] = 100.0 * better * shaken
            await self._say(
                "executor",
                "round",
                Round(
                    optimization=command.optimization,
                    trial=command.trial,
                    host=host,
                    index=index,
                    order="AB" if index % 2 else "BA",
                    seed=index,
                    baseline=baseline,
                    candidate=measured,
                    spec=command.spec,
                    tried=Loadable.of(command),
                ),
            )
        await self.hold_trials.wait()
        await self._say(
            "executor",
            "trial_ended",
            TrialEnded(
                optimization=command.optimization,
                trial=command.trial,
                host=host,
                end="completed",
                pairs=command.spec.max_pairs,
            ),
        )

    async def _stop(self, host: str, command: StopCommand) -> None:
        """Trials end by themselves here."""

    async def _deploy(self, host: str, command: DeployCommand) -> None:
        self.runs[host] = command.optimization
        before = self._kept.get(host)
        self._kept[host] = command
        await self._report(host)
        span = f"00-{'a' * 32}-{next(self._ids) + 1:016x}-01"
        replaced = before and Replaced(optimization=before.optimization, workloads=before.workloads)
        deployed = Deployed(
            optimization=command.optimization, host=host, traceparent=span, replaced=replaced
        )
        await self._say("executor", "deployed", deployed)

    async def _report(self, host: str) -> None:
        kept = self._kept.get(host)
        state = SchedulerState(
            host=host,
            boot_id="b" + host,
            state="enabled" if kept else "disabled",
            ours=kept is not None,
            kept=kept.optimization if kept else "",
        )
        await (await self.bus.records("hosts", SchedulerState)).put(f"{host}.scheduler", state)

    async def _confirm(self, host: str, command: ConfirmCommand) -> None:
        here = self.runs.get(host) == command.optimization and host not in self.unconfirmed
        problem = None if here else Problem(kind="SchedulerError", what="it left")
        confirmed = Confirmed(optimization=command.optimization, host=host, problem=problem)
        await self._say("executor", "confirmed", confirmed)

    async def _seal(self, host: str, command: SealCommand) -> None:
        kept = self._kept.get(host)
        if kept is not None and kept.optimization == command.optimization:
            self.sealed[host] = command

    async def _revert(self, host: str, command: RevertCommand) -> None:
        if self.runs.get(host) == command.optimization:
            del self.runs[host]
            del self._kept[host]
            await self._report(host)
        reverted = Reverted(optimization=command.optimization, host=host, reason=command.reason)
        await self._say("executor", "reverted", reverted)


class Minds:
    """A planner and a learner that work, and what can be seen of them."""

    def __init__(self, bus: Bus, telemetry: Telemetry, memory: InMemorySpanExporter) -> None:
        self.bus = bus
        self._telemetry = telemetry
        self._memory = memory

    @property
    def metrics(self) -> Metrics:
        return self._telemetry.metrics

    @property
    def spans(self) -> list[SpanRecord]:
        return [to_record(span) for span in self._memory.get_finished_spans()]

    async def ask(self, request: OptimizeRequest) -> OptimizeReply:
        return await self.bus.ask(self.bus.subjects.optimize, request, OptimizeReply, timeout_s=30)

    async def record(self, identity: str) -> Optimization:
        found = await (await self.bus.records("optimizations", Optimization)).get(identity)
        assert found is not None
        return found.value

    async def until(
        self, identity: str, condition: Callable[[Optimization], object]
    ) -> Optimization:
        while True:
            state = await self.record(identity)
            if condition(state):
                return state
            assert not state.over, (state.terminal, state.reasons)
            await asyncio.sleep(0.05)

    async def end(self, identity: str) -> Optimization:
        return await self.until(identity, lambda state: state.over)


@contextlib.asynccontextmanager
async def working(
    url: str,
    subjects: Subjects,
    *,
    most_canaries: int = 8,
    mind: Mind | None = None,
    first: Callable[[Telemetry], Mind] | None = None,
) -> AsyncIterator[Minds]:
    """A planner and a learner on connections of their own; `first` makes a mind asked before."""
    telemetry = start_telemetry("planner", publish=None)
    memory = InMemorySpanExporter()
    telemetry.provider.add_span_processor(SimpleSpanProcessor(memory))
    bus = await connect(url, subjects, "planner", patience_s=10)
    planner = Planner(
        bus,
        telemetry,
        [*([first(telemetry)] if first else []), mind or OneIdea()],
        Catalogue.load(),
        PolicyCatalogue.load(),
        await bus.records("optimizations", Optimization),
        await bus.records("hosts", Inventory),
        await bus.records("hosts", SchedulerState),
        await Incumbents.on(bus, await bus.records("optimizations", Optimization)),
        await Turns.on(bus, most_canaries),
    )
    await Learner(bus, telemetry).start()
    try:
        async with planner.running():
            yield Minds(bus, telemetry, memory)
    finally:
        await bus.close()
        await telemetry.shutdown()
