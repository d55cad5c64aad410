"""Optimizations as they would have been recorded: real messages, judged by the real judge."""

from __future__ import annotations

import math
import random
import uuid
from dataclasses import dataclass, field

import msgspec
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from services.learner.judge import judge
from shared import attributes as names
from shared.bus import Bus
from shared.messages import (
    Accepted,
    Artifact,
    Built,
    Candidate,
    Consideration,
    Cost,
    Deployed,
    Ended,
    Fingerprint,
    Guardrail,
    Hardware,
    Inventory,
    Judged,
    Message,
    Neighbour,
    Objective,
    OptimizeRequest,
    Plan,
    Profile,
    Profiled,
    Progress,
    Reason,
    Round,
    SchedulerState,
    Terminal,
    TrialEnded,
    TrialSpec,
)
from shared.optimization import Incumbent, Optimization, TrialRecord
from shared.telemetry import otlp_json
from shared.telemetry.records import Kind, SpanRecord

OBJECTIVE = Objective(metric="wakeup_p99_us", direction="lower", unit="us", least_effect=0.05)
GUARDRAIL = Guardrail(metric="requests_per_s", direction="higher", margin=0.05, unit="1/s")
CANDIDATE = Candidate(
    policy="latency",
    version="1.0.0",
    parameters={"short_ns": 2_000_000},
    why="short runners wait behind hogs",
    predicted_ratio=0.5,
    predicted_low=0.35,
    predicted_high=0.7,
)
NEIGHBOUR = Guardrail(metric="build.builds_per_hour", direction="higher", unit="1/h")
SHA = "ab" * 32


@dataclass
class Recorded:
    """A record, and the events that led to it: (service, fact, message)."""

    record: Optimization
    events: list[tuple[str, str, Message]] = field(default_factory=list)

    async def publish(self, bus: Bus, *, until: int | None = None, since: int = 0) -> None:
        """Put events onto the bus as the services would have.

        The record is there before the last of all: a planner writes first, then it tells.
        """
        if until is not None:
            await self._tell(bus, since, until)
            return
        last = max(since, len(self.events) - 1)
        await self._tell(bus, since, last)
        await (await bus.records("optimizations", Optimization)).put(self.record.id, self.record)
        await self._tell(bus, last, len(self.events))

    async def _tell(self, bus: Bus, since: int, until: int) -> None:
        for number, (service, fact, message) in enumerate(self.events[since:until], since):
            await bus.publish(
                bus.subjects.event(
                    service,  # type: ignore[arg-type]
                    fact,
                    self.record.id,
                    getattr(message, "host", None),
                ),
                message,
                message_id=f"{self.record.id}-{number}",
            )

    async def publish_spans(self, bus: Bus) -> None:
        """A small trace with one root."""
        ids = RandomIdGenerator()
        root = span(self.record, "optimize wakeup", "planner", f"{ids.generate_span_id():016x}", "")
        rest = [
            span(self.record, name, service, f"{ids.generate_span_id():016x}", root.span_id)
            for name, service in (
                ("observe lab-1", "observer"),
                ("trial latency", "executor"),
                ("judge confirm", "learner"),
                (f"finish {self.record.terminal}", "planner"),
            )
        ]
        for each in (root, *rest):
            service = str(each.resource[names.SERVICE_NAME])
            await bus.publish_bytes(
                bus.subjects.span(service, self.record.trace_id),  # type: ignore[arg-type]
                otlp_json.encode([each]),
            )


def span(record: Optimization, name: str, service: str, span_id: str, parent_id: str) -> SpanRecord:
    return SpanRecord(
        trace_id=record.trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        kind=Kind.INTERNAL,
        start_unix_ns=record.created_unix_ns,
        end_unix_ns=record.created_unix_ns + 1_000_000,
        attributes={names.OPTIMIZATION_ID: record.id},
        resource={names.SERVICE_NAME: service},
    )


def optimization(
    *, gain: float = 0.45, noise: float = 0.08, pairs: int = 12, harm: float = 1.0
) -> Recorded:
    """One candidate tried: `gain` is its ratio, `harm` the ratio of its guardrail."""
    told = _Telling()
    told.accept()
    told.profile()
    told.plan([CANDIDATE])
    told.build()
    told.try_out(gain, noise, pairs, harm)
    told.end()
    return told.done()


def crowded() -> Recorded:
    """The same with a neighbour, for which the host keeps what is the baseline then."""
    told = _Telling()
    told.guardrails.append(NEIGHBOUR)
    told.accept()
    told.profile()
    told.plan([CANDIDATE])
    told.build()
    told.try_out(0.45, 0.08, 12, 1.0)
    told.end()
    recorded = told.done()
    recorded.record = msgspec.structs.replace(
        recorded.record,
        guardrails=told.guardrails,
        beside=[Neighbour(workload="build", why="lab-1 keeps fair for it, by o0")],
        incumbent=Incumbent(
            optimization="o0",
            workloads=["build"],
            candidate=msgspec.structs.replace(CANDIDATE, policy="fair", parameters={}),
            gained="build's builds_per_hour at 1.100 times that under the kernel's default",
        ),
        guarded=True,
    )
    return recorded


def rejected() -> Recorded:
    """The gate said no to the only candidate."""
    told = _Telling()
    told.accept()
    told.profile()
    told.plan([CANDIDATE])
    reason = Reason(stage="proof", rule="calls", text="the hook calls helper 36", line=7)
    told.say("executor", "built", Built(optimization=told.id, policy="latency", reasons=[reason]))
    told.terminal = "rejected"
    told.end()
    return told.done()


class _Telling:
    """Builds record and events side by side."""

    def __init__(self) -> None:
        self.id = f"o{uuid.uuid4().hex[:12]}"
        self.trace_id = uuid.uuid4().hex
        self.request = OptimizeRequest(workload="wakeup", hosts=["lab-1", "lab-2"])
        self.guardrails = [GUARDRAIL]
        self.events: list[tuple[str, str, Message]] = []
        self.trials: list[TrialRecord] = []
        self.builds: dict[str, Built] = {}
        self.deployments: dict[str, Deployed] = {}
        self.plan_made: Plan | None = None
        self.terminal: Terminal = "kept-default"
        self.reasons: list[str] = []
        self.inventory = Inventory(
            host="lab-1",
            machine_id="0" * 32,
            boot_id="boot",
            kernel="7.3.4+deb13-cloud-amd64",
            arch="x86_64",
            cpus=2,
            cpu_model="QEMU TCG CPU",
            virtualization="qemu-tcg",
            sched_ext=True,
        )
        self.profile_seen = Profile(
            host="lab-1",
            workload="wakeup",
            features={"wait_p99_us": 7000.0},
            workload_class="latency-under-load",
            confidence=0.93,
            summary="Short sleepers wait behind hogs.",
            baseline={"wakeup_p99_us": 6900.0},
            seconds=4.2,
            cost=Cost(wall_s=8.0, cpu_s=0.4),
        )

    def say(self, service: str, fact: str, message: Message) -> None:
        self.events.append((service, fact, message))

    def accept(self) -> None:
        accepted = Accepted(
            optimization=self.id,
            trace_id=self.trace_id,
            request=self.request,
            hosts=self.request.hosts,
        )
        self.say("planner", "accepted", accepted)
        self._phase("profiling", "observing lab-1")

    def profile(self) -> None:
        profiled = Profiled(
            optimization=self.id,
            host="lab-1",
            inventory=self.inventory,
            profile=self.profile_seen,
        )
        self.say("observer", "profiled", profiled)
        self._phase("planning", self.profile_seen.summary)

    def plan(self, candidates: list[Candidate]) -> None:
        self.plan_made = Plan(
            optimization=self.id,
            mind="embedded",
            kind="reconfigure",
            considered=[
                Consideration(policy="latency", score=0.92, reason="fits"),
                Consideration(policy="longtail", score=0.1, reason="no batch in sight"),
            ],
            candidates=candidates,
            why="latency fits best",
        )
        self.say("planner", "planned", self.plan_made)
        self._phase("building", self.plan_made.why)

    def build(self) -> None:
        built = Built(
            optimization=self.id,
            policy="latency",
            artifact=_artifact(),
            cost=Cost(wall_s=2.4, cpu_s=2.0),
        )
        self.builds["latency"] = built
        self.say("executor", "built", built)

    def try_out(self, gain: float, noise: float, pairs: int, harm: float) -> None:
        self._phase("trying", "confirm latency on lab-1")
        trial = f"{self.id}-t1"
        spec = TrialSpec(objective=OBJECTIVE, guardrails=self.guardrails, max_pairs=pairs)
        rounds: list[Round] = []
        word: Judged | None = None
        chance = random.Random(3)
        for index in range(pairs):
            base = chance.gauss(6900, 300)
            rounds.append(
                Round(
                    optimization=self.id,
                    trial=trial,
                    host="lab-1",
                    index=index,
                    order="AB" if chance.random() < 0.5 else "BA",
                    seed=1000 + index,
                    baseline={
                        "wakeup_p99_us": base,
                        "requests_per_s": chance.gauss(950, 3),
                        **self._neighbours(chance),
                    },
                    candidate={
                        "wakeup_p99_us": base * gain * math.exp(chance.gauss(0, noise)),
                        "requests_per_s": chance.gauss(950 * harm, 3),
                        **self._neighbours(chance),
                    },
                    seconds=9.1,
                    gap_ns=41_000_000,
                    spec=spec,
                )
            )
            self.say("executor", "round", rounds[-1])
            word = judge(spec, rounds)
            self.say("learner", "judged", word)
            if word.verdict != "continue":
                break
        assert word is not None
        ended = TrialEnded(
            optimization=self.id,
            trial=trial,
            host="lab-1",
            end="stopped",
            pairs=len(rounds),
            cost=Cost(wall_s=90.0, cpu_s=3.0),
        )
        self.say("executor", "trial_ended", ended)
        self.trials.append(
            TrialRecord(
                trial=trial,
                host="lab-1",
                candidate=CANDIDATE,
                artifact=_artifact(),
                spec=spec,
                seed=1001,
                pairs=len(rounds),
                judged=word,
                decision=word if word.verdict != "continue" else None,
                ended=ended,
            )
        )
        # In the planner's words: services/planner/machine/.
        self.reasons = ["; ".join(word.reasons)]
        if word.verdict == "promote":
            self.terminal = "promoted"
            self._deploy()

    def _neighbours(self, chance: random.Random) -> dict[str, float]:
        return {each.metric: chance.gauss(400, 2) for each in self.guardrails[1:]}

    def _deploy(self) -> None:
        for host in self.request.hosts:
            state = SchedulerState(
                host=host,
                boot_id="boot",
                state="enabled",
                ops="coxswain_latency",
                ours=True,
                policy="latency",
                purpose="deployed",
            )
            deployed = Deployed(optimization=self.id, host=host, state=state, gap_ns=38_000_000)
            self.deployments[host] = deployed
            self.say("executor", "deployed", deployed)

    def end(self) -> None:
        ended = Ended(optimization=self.id, terminal=self.terminal, reasons=self.reasons)
        self.say("planner", "ended", ended)

    def done(self) -> Recorded:
        start = 1_700_000_000_000_000_000
        promoted = self.terminal == "promoted"
        record = Optimization(
            id=self.id,
            request=self.request,
            traceparent=f"00-{self.trace_id}-{'b' * 16}-01",
            created_unix_ns=start,
            expires_unix_ns=start + 1_800_000_000_000,
            phase="ended",
            deadline_unix_ns=0,
            hosts=self.request.hosts,
            canary="lab-1",
            inventories={
                "lab-1": self.inventory,
                "lab-2": msgspec.structs.replace(self.inventory, host="lab-2"),
            },
            objective=OBJECTIVE,
            guardrails=[GUARDRAIL],
            round_s=3.7,
            timeout_s=60.0,
            profile=self.profile_seen,
            fingerprint=Fingerprint(
                workload_class="latency-under-load",
                objective="wakeup_p99_us",
                hardware=Hardware(
                    arch="x86_64",
                    cpus=2,
                    threads_per_core=1,
                    llcs=1,
                    numa_nodes=1,
                    cpu_model="QEMU TCG CPU",
                    virtualization="qemu-tcg",
                ),
                kernel="7.3",
            ),
            plan=self.plan_made,
            builds=self.builds,
            trials=self.trials,
            winner=self.trials[0] if promoted else None,
            deployments=self.deployments,
            terminal=self.terminal,
            reasons=self.reasons,
            costs={"observe": Cost(wall_s=8.0, cpu_s=0.4), "trial": Cost(wall_s=90.0, cpu_s=3.0)},
            ended_unix_ns=start + 150_000_000_000,
        )
        return Recorded(record, self.events)

    def _phase(self, phase: str, text: str) -> None:
        self.say("planner", "progress", Progress(optimization=self.id, phase=phase, text=text))


def _artifact() -> Artifact:
    return Artifact(
        sha256=SHA,
        size_bytes=104_400,
        policy="latency",
        version="1.0.0",
        source_sha256="cd" * 32,
        toolchain="clang 19",
    )
