"""Every message that crosses a wall.

Messages are msgspec structs, sent as JSON with a `type` and a version `v`. Fields are only
ever added, with defaults; a message with an unknown version is refused. Unknown fields are
ignored, but for a client's request, where they are most likely a typing error.

Durations carry their unit in the name. `unix_ns` is nanoseconds since 1970 (the clock of
spans). Metrics are plain floats in the unit that the workload's manifest states.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, field

from shared.classes import WorkloadClass
from shared.errors import MessageError, Problem
from shared.parameters import Parameter
from shared.probes import MOST_SECONDS, ProbeName, ProbeReading

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
NameIfAny = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Neighbours = Annotated[list[Name], Meta(max_length=3)]
"""Workloads that run beside another one: each more makes a round longer and says less of each."""
Direction = Literal["lower", "higher"]
"""Which way a metric gets better."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages."""

    v: int = 1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what messages are made of."""


# --- What is wanted ----------------------------------------------------------------------------


class Objective(Part, frozen=True, kw_only=True):
    """The one metric to improve, and the least improvement worth having (0.02 is 2 %)."""

    metric: str
    direction: Direction
    unit: str = ""
    least_effect: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.02


class Guardrail(Part, frozen=True, kw_only=True):
    """A metric that must not get worse by more than `margin` (0.05 is 5 %)."""

    metric: str
    direction: Direction
    margin: Annotated[float, Meta(ge=0.0)] = 0.05
    unit: str = ""


class Budget(Part, frozen=True, kw_only=True):
    """A hard stop: paired rounds over all trials, and wall seconds over the whole life."""

    rounds: Annotated[int, Meta(ge=8, le=1000)] = 24
    seconds: Annotated[int, Meta(ge=60, le=86_400)] = 1800


class Selector(Part, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which hosts are meant, by what they are. All that is given must hold.

    Values are shell patterns (`7.3*`, `*EPYC*`), compared without regard to case; the fingerprint
    is a key as it is told by `cox optimizations`.
    """

    labels: dict[Name, str] = field(default_factory=dict)
    """Each must be there with a value that matches; hosts get theirs from COX_LABELS."""
    kernel: str = ""
    arch: str = ""
    cpu_model: str = ""
    virtualization: str = ""
    fingerprint: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?$")] = ""
    """Hardware and kernel as an optimization has seen them; the workload may be another one."""


Percent = Annotated[int, Meta(ge=1, le=100)]


class Rollout(Part, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How a promoted candidate gets from its canary to the other hosts."""

    cohorts: Annotated[tuple[Percent, ...], Meta(min_length=1, max_length=16)] = (10, 50, 100)
    """How many of the hosts after the canary have it when each step is done: rising to 100."""
    soak_s: Annotated[float, Meta(ge=0.0, le=86_400.0)] = 3.0
    """How long every host of a step runs it before the step is judged."""
    control_percent: Annotated[int, Meta(ge=0, le=50)] = 10
    """Of all hosts, rounded down: so many stay on what they run, for comparison."""
    lease_s: Annotated[float, Meta(ge=10.0, le=604_800.0)] = 3600.0
    """How long a host keeps it while the bus is away."""


class OptimizeRequest(Part, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A client's request; only `workload` must be given. Any NATS client can send this JSON.

    Hosts of several kinds of hardware or kernel become one optimization for each kind: budget,
    rollout, priority and all else hold for each of them.
    """

    workload: Name
    type: Literal["optimize"] = "optimize"
    v: Literal[1] = 1
    beside: Neighbours = field(default_factory=list)
    """Workloads that run at the same time and must not get worse. What a canary keeps for another
    workload than this one makes that one a neighbour, too."""
    alone: bool = False
    """No neighbour but those named, whatever a canary keeps; the answer says what that may cost."""
    hosts: list[Name] = field(default_factory=list)
    """Target hosts; none named means every host that is ready."""
    select: Selector = Selector()
    """Only hosts that match; one that is named must match, too."""
    rollout: Rollout = Rollout()
    budget: Budget = Budget()
    policies: list[Name] = field(default_factory=list)
    """Only these policies may be tried, and what is made from them; none named means all."""
    made: bool = True
    """Hooks may be tried that a mind has written: they pass the same gate as all others."""
    least_effect: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    """Overrides the workload's own least useful effect."""
    drift: Literal["off", "tell", "optimize"] = "tell"
    """When what is kept is found not to do what it did: nothing, say so, or optimize once more for
    this request, for as long as the gate knows it. `COX_DRIFT` of a planner may allow less."""
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    """Who goes first where requests want the same host; then the older one."""
    wait: bool = True
    """For hosts that are busy; else the request is refused."""
    seed: int = 1


class Neighbour(Part, frozen=True, kw_only=True):
    """A workload that runs beside the one that is optimized, and why it does."""

    workload: Name
    why: str


class AcceptedPart(Part, frozen=True, kw_only=True):
    """The optimization of one kind of hosts."""

    optimization: str
    hosts: list[Name]
    """The hosts that take part, the canary first."""
    waits: str = ""
    """What it waits for; empty if it has begun."""
    beside: list[Neighbour] = field(default_factory=list)
    """Who runs beside the workload, as it looks now: it is looked at again when it begins."""
    unguarded: str = ""
    """What the canary keeps for others and nobody looks after, because the request is `alone`."""


class OptimizeReply(Message, tag="optimize_reply", frozen=True, kw_only=True):
    """The answer: ids when accepted, the problem when not.

    `optimization`, `hosts` and `waits` are those of the first part.
    """

    accepted: bool
    optimization: str = ""
    trace_id: str = ""
    """The one trace of all parts."""
    problem: Problem | None = None
    hosts: list[Name] = field(default_factory=list)
    """The hosts that take part, the canary first."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Hosts that were not named and do not take part: why not, by host. Some of them, if many."""
    left_out_more: int = 0
    """How many more there are."""
    waits: str = ""
    """What it waits for; empty if it has begun."""
    parts: list[AcceptedPart] = field(default_factory=list)
    """One optimization for each kind of hosts, the one with the most hosts first."""


# --- Hosts -------------------------------------------------------------------------------------


class Inventory(Message, tag="inventory", frozen=True, kw_only=True):
    """What a host is. Written by its observer to the `hosts` bucket as `<host>.inventory`."""

    host: Name
    machine_id: str
    boot_id: str
    kernel: str
    arch: str
    cpus: int
    cpu_model: str
    threads_per_core: int = 1
    llcs: int = 1
    numa_nodes: int = 1
    memory_bytes: int = 0
    virtualization: str = ""
    sched_ext: bool = False
    obstacles: list[str] = field(default_factory=list)
    """Why this host cannot be steered, in words; empty when it can."""
    labels: dict[str, str] = field(default_factory=dict)
    """What its owner says of it (COX_LABELS): rack, role, …"""
    unix_ns: int = 0


class SchedulerState(Message, tag="scheduler_state", frozen=True, kw_only=True):
    """What schedules a host now, from the kernel. Written by its executor: `<host>.scheduler`."""

    host: Name
    boot_id: str
    state: str
    """The kernel's word: enabled, disabled, …"""
    ops: str = ""
    """Name of the attached scheduler, empty under the kernel's default."""
    ours: bool = False
    policy: str = ""
    parameters: dict[str, int] = field(default_factory=dict)
    artifact: str = ""
    purpose: Literal["", "trial", "deployed"] = ""
    optimization: str = ""
    kept: str = ""
    """The optimization whose candidate should run here between trials, whatever runs now."""
    sealed: bool = False
    """What is kept was promoted by the judge's own word: only an operator takes it back."""
    enable_seq: int = 0
    unix_ns: int = 0
    guarded: bool = True
    """A guard answers there; nothing is loaded without one."""
    breaker: Literal["closed", "open", "half-open"] = "closed"
    """Open after too much trouble: nothing is loaded until `breaker_until_unix_ns`."""
    breaker_until_unix_ns: int = 0
    breaker_why: str = ""
    quarantined: list[str] = field(default_factory=list)
    """Artifacts that did harm there and are not loaded again for now."""


class Hardware(Part, frozen=True, kw_only=True):
    """What of a host decides how a policy does."""

    arch: str
    cpus: int
    threads_per_core: int
    llcs: int
    numa_nodes: int
    cpu_model: str
    virtualization: str


class Fingerprint(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Workload behaviour x hardware x kernel: what an outcome holds for.

    And x company: what was learned with neighbours says nothing about being alone. Without company
    nothing of it is written, so that such a fingerprint has the key that it always had.
    """

    workload_class: str
    objective: str
    hardware: Hardware
    kernel: str
    beside: tuple[Name, ...] = ()
    """Workloads that ran at the same time, sorted."""
    against: str = ""
    """The policy that was the baseline; empty for the kernel's default."""


# --- Observing ---------------------------------------------------------------------------------


class Cost(Part, frozen=True, kw_only=True):
    """What a step took: wall and CPU seconds, and for a model tokens and dollars."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            wall_s=self.wall_s + other.wall_s,
            cpu_s=self.cpu_s + other.cpu_s,
            tokens=self.tokens + other.tokens,
            dollars=self.dollars + other.dollars,
        )


class Phase(Part, frozen=True, kw_only=True):
    """A stretch of a workload's run in which it behaves in one way, and comes back to perhaps."""

    share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """Of the time watched."""
    visits: int = 1
    """How many stretches there were."""
    mean_s: float = 0.0
    """How long one took."""
    features: dict[Name, float] = field(default_factory=dict)
    workload_class: WorkloadClass | None = None
    """None where its stretches were too short to tell."""
    confidence: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0


class Profile(Part, frozen=True, kw_only=True):
    """How a workload behaves on a host: features in the units their names state."""

    host: Name
    workload: Name
    features: dict[Name, float]
    workload_class: WorkloadClass
    confidence: Annotated[float, Meta(ge=0.0, le=1.0)]
    summary: str
    """One paragraph in words."""
    baseline: dict[str, float] = field(default_factory=dict)
    """The workload's metrics while it was profiled."""
    seconds: float = 0.0
    cost: Cost = Cost()
    phases: list[Phase] = field(default_factory=list)
    """Kinds of phases, most of the time first; none where it behaves in one way throughout."""
    readings: list[ProbeReading] = field(default_factory=list)
    """What probes in the kernel have seen of it, where somebody asked for that."""


class ProfileCommand(Message, tag="profile", frozen=True, kw_only=True):
    """Observe a workload on this host."""

    optimization: str
    workload: Name
    seed: int = 1
    beside: Neighbours = field(default_factory=list)
    """Workloads that run at the same time."""
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""


class Profiled(Message, tag="profiled", frozen=True, kw_only=True):
    """A host's profile, or why there is none."""

    optimization: str
    host: Name
    inventory: Inventory | None = None
    profile: Profile | None = None
    problem: Problem | None = None


class MeasureRequest(Message, tag="measure", frozen=True, kw_only=True):
    """Run the workload once and measure it, with its neighbours if it has any."""

    workload: Name
    seed: int
    measurement: str
    """Id of this measurement: asking again with the same id gives the same answer."""
    beside: Neighbours = field(default_factory=list)
    """Workloads that run at the same time, each in a control group of its own."""


class Measurement(Message, tag="measurement", frozen=True, kw_only=True):
    """One run's metrics, or why there are none."""

    measurement: str
    metrics: dict[str, float] = field(default_factory=dict)
    """The workload's own by their names, a neighbour's as `<workload>.<metric>`."""
    seconds: float = 0.0
    """How long the workload itself ran, and what CPU time it used."""
    cpu_s: float = 0.0
    problem: Problem | None = None


class Vitals(Part, frozen=True, kw_only=True):
    """A host's counters at one moment, from its kernel: only differences mean something.

    Read without running anything, and by schedulers of every kind counted in the same way.
    """

    boot_id: str
    at_ns: int
    """Since boot (CLOCK_BOOTTIME)."""
    run_ns: int
    """How long tasks have run, over all CPUs."""
    wait_ns: int
    """How long runnable tasks have waited for a CPU."""


class DeepenRequest(Message, tag="deepen", frozen=True, kw_only=True):
    """Run the workload once more, with a probe in the kernel attached to it.

    Dearer than a profile: the probe is compiled on the host first.
    """

    optimization: str
    workload: Name
    probe: ProbeName
    seed: int = 1
    beside: Neighbours = field(default_factory=list)
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""


class Deepened(Message, tag="deepened", frozen=True, kw_only=True):
    """What the probe has seen, and how the workload did with it attached."""

    optimization: str
    host: Name
    workload: Name
    reading: ProbeReading
    summary: str
    """The same in words."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The workload's metrics of this run: beside a profile's `baseline` they show what it cost."""
    cost: Cost = Cost()


class PrepareProbe(Message, tag="prepare_probe", frozen=True, kw_only=True):
    """Have this host's executor compile and verify a probe; nothing is attached yet."""

    probe: ProbeName


class PreparedProbe(Message, tag="prepared_probe", frozen=True, kw_only=True):
    """A probe that waits, for a minute, to be told what to watch."""

    session: Name
    probe: ProbeName
    compile_s: float


class RunProbe(Message, tag="run_probe", frozen=True, kw_only=True):
    """Attach a prepared probe to a control group for a while; it is gone afterwards."""

    session: Name
    cgroup: Annotated[str, Meta(max_length=1024)]
    """Its path (v2) below the hierarchy's root; `/` is the whole host."""
    seconds: Annotated[float, Meta(ge=0.1, le=MOST_SECONDS)]


class ProbeRun(Message, tag="probe_run", frozen=True, kw_only=True):
    """What a probe has seen."""

    reading: ProbeReading


LIVE = "live-"
"""Marks of looks at a host that runs what was promoted there, one after the other."""


class ProbeCommand(Message, tag="probe", frozen=True, kw_only=True):
    """Read this host's counters now."""

    optimization: str
    mark: Name
    """Which moment of the optimization this is."""
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""


class Probed(Message, tag="probed", frozen=True, kw_only=True):
    """A host's counters; None where its kernel does not tell them."""

    optimization: str
    host: Name
    mark: Name
    vitals: Vitals | None = None


# --- Planning ----------------------------------------------------------------------------------


class Made(Part, frozen=True, kw_only=True):
    """Hooks that a mind has written: in the frame of their parent they are a policy.

    Their name (`shared.policies.made_name`) is a hash of parent, source and parameters.
    """

    parent: Name
    """A policy that ships: the frame's settings are taken from it."""
    source: Annotated[str, Meta(min_length=1, max_length=8192)]
    summary: Annotated[str, Meta(min_length=1, max_length=300)]
    parameter: Annotated[list[Parameter], Meta(max_length=8)] = field(default_factory=list)
    revises: NameIfAny = ""
    """The policy that they are a new wording of; empty if they were written anew."""
    mind: NameIfAny = ""
    """Who wrote them."""
    prompt_sha256: str = ""
    """What told the writer how, if that was a prompt."""


class Candidate(Part, frozen=True, kw_only=True):
    """A policy with parameters, and what the planner expects of it."""

    policy: Name
    version: str
    parameters: dict[str, int]
    why: str
    predicted_ratio: float
    predicted_low: float
    predicted_high: float
    origin: Literal["recall", "rule", "search", "model"] = "rule"
    made: Made | None = None
    """The policy's hooks, where they do not ship."""


class Consideration(Part, frozen=True, kw_only=True):
    """One policy that was looked at: how well it fits (0 to 1), and why it was taken or left."""

    policy: Name
    score: float
    reason: str


class Declined(Part, frozen=True, kw_only=True):
    """A mind that was asked first, and why it gave no plan that may be carried out."""

    mind: Name
    problem: Problem


class PlanCommand(Message, tag="plan_command", frozen=True, kw_only=True):
    """Decide what to try: kept on the bus so that any planner instance can do it."""

    optimization: str


class Plan(Message, tag="plan", frozen=True, kw_only=True):
    """What will be tried, and why. Ratios are candidate / baseline of the objective."""

    optimization: str
    mind: str
    kind: Literal["reconfigure", "revise", "generate", "keep-default"]
    considered: list[Consideration]
    candidates: list[Candidate]
    why: str
    evidence: dict[str, float] = field(default_factory=dict)
    screen_pairs: int = 0
    """Pairs each candidate gets first, when there is more than one."""
    confirm_pairs: int = 8
    """Pairs at the most for the winner's own trial, on rounds nobody has looked at."""
    more: bool = False
    """Whether this mind wants to see what the screening brings, and plan once more, before
    anything is confirmed."""
    recalled: str = ""
    """The optimization whose outcome this plan starts from."""
    again: bool = False
    """Whether the learner vouches that the first candidate was promoted here before."""
    onward: list[Candidate] = field(default_factory=list)
    """Tried once the first candidate has held: the better one is kept."""
    instead: list[Candidate] = field(default_factory=list)
    """Looked at afresh if the first candidate has not held, with what is left of the budget."""
    instead_pairs: int = 3
    """Pairs that each of those gets first."""
    generation: int = 0
    """How many plans came before it in its optimization; the planner says so, not the mind."""
    problem: Problem | None = None
    declined: list[Declined] = field(default_factory=list)
    """Other minds that were asked before this one."""
    cost: Cost = Cost()
    """Of all minds that were asked."""
    readings: list[ProbeReading] = field(default_factory=list)
    """Of probes that the mind has asked for."""


# --- Building ----------------------------------------------------------------------------------


class CheckRequest(Message, tag="check", frozen=True, kw_only=True):
    """Ask the gate what it would say to hooks: nothing is kept of them, and nothing is loaded."""

    policy: Name
    made: Made


class BuildCommand(Message, tag="build", frozen=True, kw_only=True):
    """Make an artifact of a policy: one that ships, or one that was made."""

    optimization: str
    policy: Name
    made: Made | None = None
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""


class Artifact(Part, frozen=True, kw_only=True):
    """A compiled object in the object store, by its hash, with what was proven on the way."""

    sha256: Sha256
    size_bytes: int
    policy: Name
    version: str
    source_sha256: Sha256
    toolchain: str
    evidence: dict[str, float] = field(default_factory=dict)
    headers_sha256: str = ""
    """Of the frame and the headers that it was built with."""


class Reason(Part, frozen=True, kw_only=True):
    """Why a stage of the gate said no."""

    stage: str
    rule: str
    text: str
    line: int = 0


class Checked(Message, tag="checked", frozen=True, kw_only=True):
    """What the gate says to hooks: no reasons and no problem means that they would pass.

    All but the sandbox, which is for what is built.
    """

    reasons: list[Reason] = field(default_factory=list)
    problem: Problem | None = None
    evidence: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Built(Message, tag="built", frozen=True, kw_only=True):
    """An artifact, or the reasons why there is none, or the problem that stopped the build."""

    optimization: str
    policy: Name
    artifact: Artifact | None = None
    reasons: list[Reason] = field(default_factory=list)
    problem: Problem | None = None
    cost: Cost = Cost()
    unix_ns: int = 0
    """When, by the gate's clock; 0 from a gate that did not say it yet."""
    made: Made | None = None
    """What it was built of, where that does not ship."""


# --- Trying ------------------------------------------------------------------------------------


class TrialSpec(Part, frozen=True, kw_only=True):
    """What a trial asks, and when it may be answered."""

    objective: Objective
    guardrails: list[Guardrail] = field(default_factory=list)
    stage: Literal["screen", "confirm"] = "confirm"
    min_pairs: int = 8
    max_pairs: int = 24
    alpha: Annotated[float, Meta(gt=0.0, lt=0.5)] = 0.05
    comparisons: int = 1
    """How many candidates were looked at: alpha is shared by them."""


class TrialCommand(Message, tag="trial", frozen=True, kw_only=True):
    """Try a candidate on this host, in paired rounds against a baseline."""

    optimization: str
    trial: str
    policy: Name
    version: str
    parameters: dict[str, int]
    artifact: Artifact
    workload: Name
    spec: TrialSpec
    seed: int
    washout_s: float = 0.5
    measure_timeout_s: float = 300.0
    """How long one measured run may take, set-up included."""
    beside: Neighbours = field(default_factory=list)
    """Workloads that run at the same time."""
    against: str = ""
    """The optimization whose kept candidate is the baseline; empty for the kernel's default."""
    fence: int = 0
    """A host that has seen a larger one does not begin: its owner has changed since."""
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""
    request_sha256: str = ""
    """Of the request's own bytes: without one that an operator has sent the gate signs nothing."""


class Loadable(Part, frozen=True, kw_only=True):
    """What a candidate is: these bytes with these parameters."""

    artifact: str
    """Their sha256."""
    parameters: dict[str, int]

    @classmethod
    def of(cls, command: TrialCommand | DeployCommand) -> Loadable:
        """What a host is told to load."""
        return cls(artifact=command.artifact.sha256, parameters=command.parameters)


class Round(Message, tag="round", frozen=True, kw_only=True):
    """One pair: the same load and seed under both, in the random order that `order` states."""

    optimization: str
    trial: str
    host: Name
    index: int
    order: Literal["AB", "BA"]
    """A is the baseline, B the candidate."""
    seed: int
    baseline: dict[str, float]
    candidate: dict[str, float]
    counters: dict[str, int] = field(default_factory=dict)
    """The frame's counters over the candidate's side."""
    gap_ns: int = 0
    """How long attaching took: the time between the default and the candidate."""
    seconds: float = 0.0
    spec: TrialSpec
    tried: Loadable | None = None
    """The candidate; None from hosts that did not tell it yet."""


class ExitRecord(Part, frozen=True, kw_only=True):
    """Why the kernel let go of a scheduler."""

    kind: int
    kind_name: str
    reason: str = ""
    message: str = ""
    exit_code: int = 0
    verdict: Literal["benign", "requested", "foreign", "fault"] = "fault"
    explanation: str = ""


TrialEnd = Literal[
    "completed", "stopped", "verifier", "attach", "fault", "workload", "foreign", "interrupted"
]


class TrialEnded(Message, tag="trial_ended", frozen=True, kw_only=True):
    """No more rounds come: all were run, somebody stopped it, or something broke."""

    optimization: str
    trial: str
    host: Name
    end: TrialEnd
    pairs: int
    problem: Problem | None = None
    exit_record: ExitRecord | None = None
    verifier_log: str = ""
    cost: Cost = Cost()


class StopCommand(Message, tag="stop", frozen=True, kw_only=True):
    """End a trial; the host goes back to what ran before. May come before the trial does."""

    optimization: str
    trial: str
    reason: str


# --- Leave to load -----------------------------------------------------------------------------


class Signed(Part, frozen=True, kw_only=True):
    """Bytes and their Ed25519 signature: checked as they are, decoded afterwards."""

    payload: bytes
    signature: bytes
    key: str
    """Which key: 16 hexadecimal digits of its hash."""


Purpose = Literal["trial", "deploy", "restore"]
"""What is loaded for: pairs of a trial, a promotion, or that promotion once more."""


class TokenRequest(Message, tag="token_request", frozen=True, kw_only=True):
    """A host asks for a deployment token: what it is about to load, and what machine it is."""

    host: Name
    nonce: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    """Fresh and random: an answer to anything else is none."""
    machine_id: str
    boot_id: str
    kernel: str
    btf_sha256: str
    """Of /sys/kernel/btf/vmlinux; empty where the kernel has none."""
    optimization: str
    request_sha256: str
    """Of the bytes of the request that this is for."""
    purpose: Purpose
    policy: Name
    parameters: dict[str, int]
    artifact: Artifact
    loads: Annotated[int, Meta(ge=1, le=1000)]
    """How often it is to be loaded."""
    max_duration_s: Annotated[float, Meta(gt=0.0, le=200_000.0)]
    """For how long loads may follow the first."""
    keys: list[str] = field(default_factory=list)
    """Which of the gate's public keys the host knows."""


class TokenReply(Message, tag="token_reply", frozen=True, kw_only=True):
    """A signed token, or why there is none."""

    token: Signed | None = None
    problem: Problem | None = None
    pending: bool = False
    """What is missing may come: ask again."""


# --- Judging -----------------------------------------------------------------------------------


class GuardrailFinding(Part, frozen=True, kw_only=True):
    """Where a guardrail stands: the ratio's interval against the margin."""

    metric: str
    state: Literal["clear", "open", "violated"]
    ratio: float
    low: float
    high: float
    margin: float


class Judged(Message, tag="judged", frozen=True, kw_only=True):
    """The judge's word after a round. Ratios are candidate / baseline of the objective."""

    optimization: str
    trial: str
    pairs: int
    verdict: Literal["continue", "promote", "revert", "inconclusive"]
    ratio: float
    """Median of the pairs' ratios."""
    low: float
    high: float
    """Block-bootstrap interval of the median."""
    sequence_low: float
    sequence_high: float
    """Confidence sequence of the mean log ratio, as ratios: valid at every look."""
    autocorrelation: float
    measured_on: str = ""
    """The host whose rounds these were."""
    spec: TrialSpec | None = None
    """What was judged by: rounds carry it, and a host might write another one into them."""
    guardrails: list[GuardrailFinding] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


# --- Rolling out -------------------------------------------------------------------------------


class DeployCommand(Message, tag="deploy", frozen=True, kw_only=True):
    """Keep a promoted candidate on this host."""

    optimization: str
    workloads: list[Name] = field(default_factory=list)
    """For whom: the workload that it was promoted for, then those beside it."""
    policy: Name
    version: str
    parameters: dict[str, int]
    artifact: Artifact
    soak_s: float = 3.0
    """How long the host looks at it before it says that it runs."""
    lease_s: float = 3600.0
    """How long the host keeps it while the bus is away."""
    fence: int = 0
    """A host that has seen a larger one does not begin: its owner has changed since."""
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""
    request_sha256: str = ""
    """Of the request's own bytes: without one that an operator has sent the gate signs nothing."""


class Replaced(Part, frozen=True, kw_only=True):
    """What a host kept of another optimization until it got the next one."""

    optimization: str
    workloads: list[Name] = field(default_factory=list)
    """For whom."""


class Deployed(Message, tag="deployed", frozen=True, kw_only=True):
    """A host runs the promoted candidate, confirmed by its kernel; or why not."""

    optimization: str
    host: Name
    problem: Problem | None = None
    exit_record: ExitRecord | None = None
    state: SchedulerState | None = None
    replaced: Replaced | None = None
    gap_ns: int = 0
    traceparent: str = ""
    """Of the host's own span, so that others can link to it."""


class ConfirmCommand(Message, tag="confirm", frozen=True, kw_only=True):
    """Look whether this optimization's candidate still runs here: a cohort has soaked."""

    optimization: str
    expires_unix_ns: int = 0
    """Not to be begun after this moment; 0 means never expires."""


class Confirmed(Message, tag="confirmed", frozen=True, kw_only=True):
    """By this host's kernel the candidate still runs; or why not."""

    optimization: str
    host: Name
    problem: Problem | None = None
    exit_record: ExitRecord | None = None
    state: SchedulerState | None = None
    counters: dict[str, int] = field(default_factory=dict)
    """The frame's counters since the candidate was attached."""


class SealCommand(Message, tag="seal", frozen=True, kw_only=True):
    """The judge's word that this was promoted: no planner takes it back any more."""

    optimization: str
    tried: Loadable
    """What was promoted; a host that keeps anything else for that optimization does not obey."""


class Usage(Part, frozen=True, kw_only=True):
    """What a host's tasks did between two looks at its counters."""

    seconds: float
    run_s: float
    wait_s: float


class HostUsage(Part, frozen=True, kw_only=True):
    """One host while it ran what it ran before, and while its cohort soaked."""

    host: Name
    before: Usage
    soaking: Usage


class WeighCommand(Message, tag="weigh", frozen=True, kw_only=True):
    """Judge a step of a rollout: hosts that got the candidate against the control."""

    optimization: str
    cohort: int
    treated: list[HostUsage]
    control: list[HostUsage]
    comparisons: int = 1
    """How many steps of this rollout are judged: the error rate is shared by them."""


class Weighed(Message, tag="weighed", frozen=True, kw_only=True):
    """What a step of a rollout did to its hosts, as far as it can be told."""

    optimization: str
    cohort: int
    verdict: Literal["worse", "not-worse", "untold"]
    ratio: float = 1.0
    """How much more tasks waited for each second they ran, against the control's change."""
    chance: float = 1.0
    """Of such a difference or a larger one if the candidate changed nothing."""
    reasons: list[str] = field(default_factory=list)


class Drifted(Message, tag="drifted", frozen=True, kw_only=True):
    """A host does not do any more what it did, under what an optimization has left there."""

    optimization: str
    on: Name
    """The host, which was its canary."""
    figure: Literal["waiting", "load"]
    """Seconds waited for each second that tasks ran, or CPUs in use."""
    low: float
    high: float
    """What was normal."""
    found: float
    at_ns: int
    """The look at the host's counters that made it certain, since its boot."""
    unix_ns: int
    reasons: list[str] = field(default_factory=list)


class RevertRequest(Message, tag="revert", frozen=True, kw_only=True):
    """Back to the kernel's default, now."""

    reason: str
    optimization: str = ""
    """Only if this optimization's candidate is what runs; empty means whatever of ours runs."""


class ResetRequest(Message, tag="reset", frozen=True, kw_only=True):
    """Close a host's breaker and end its quarantine: the cause is known."""


class RevertCommand(Message, tag="revert_command", frozen=True, kw_only=True):
    """The same as work that must not be lost: part of an optimization's ending."""

    optimization: str
    reason: str


class Reverted(Message, tag="reverted", frozen=True, kw_only=True):
    """A host is back on the kernel's default."""

    optimization: str
    host: Name
    reason: str
    state: SchedulerState | None = None
    problem: Problem | None = None
    exit_record: ExitRecord | None = None
    """Why the kernel let go, where that is the reason."""


class StateRequest(Message, tag="state", frozen=True, kw_only=True):
    """Ask what runs here."""


# --- Learning ----------------------------------------------------------------------------------


class Outcome(Part, frozen=True, kw_only=True):
    """What was learned from one candidate's trial."""

    fingerprint: Fingerprint
    workload: Name
    policy: Name
    version: str
    parameters: dict[str, int]
    verdict: Literal["promote", "revert", "inconclusive"]
    ratio: float
    low: float
    high: float
    pairs: int
    predicted_ratio: float
    optimization: str
    unix_ns: int
    features: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    host: str = ""
    """Whose rounds these were."""
    predicted_low: float = 0.0
    predicted_high: float = 0.0
    """The range that was predicted; 0 where none was."""
    mind: str = ""
    """Whose prediction it was."""
    origin: str = ""
    """How that came to the candidate, as `Candidate.origin`."""


class RememberCommand(Message, tag="remember", frozen=True, kw_only=True):
    """Keep these outcomes."""

    optimization: str
    outcomes: list[Outcome]


class Remembered(Message, tag="remembered", frozen=True, kw_only=True):
    """Outcomes are kept: this event is the memory."""

    optimization: str
    outcomes: list[Outcome]


class RecallRequest(Message, tag="recall", frozen=True, kw_only=True):
    """Ask what is known for this fingerprint."""

    fingerprint: Fingerprint
    features: dict[str, float] = field(default_factory=dict)


class Vouched(Part, frozen=True, kw_only=True):
    """A candidate that the learner has promoted itself: by its verdicts, on a host's rounds."""

    policy: Name
    version: str
    parameters: dict[str, int]
    promotions: int = 1
    """In how many optimizations it is remembered as promoted; the learner vouches for one."""


class Calibrated(Part, frozen=True, kw_only=True):
    """How a mind's predictions for a class of workload have turned out."""

    mind: str
    workload_class: str
    origin: str
    outcomes: int
    covered: float
    """Share of them that was inside the predicted range."""
    bias: float
    """How much worse than predicted they were, as a mean log; below 0 they were better."""
    widen: float
    """By how much, as a log, ranges must reach further on either side to hold four of five."""


class Recollection(Message, tag="recollection", frozen=True, kw_only=True):
    """What is known, best first. `exact` is for this fingerprint, `near` for similar ones."""

    exact: list[Outcome] = field(default_factory=list)
    near: list[Outcome] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    """The hooks of those outcomes' policies that do not ship, as far as they are known."""
    vouched: list[Vouched] = field(default_factory=list)
    """Of `exact`, what the learner knows to have been promoted, whoever says so besides."""
    calibration: list[Calibrated] = field(default_factory=list)
    """For this class of workload."""


# --- An optimization's whole life --------------------------------------------------------------

Terminal = Literal["promoted", "kept-default", "rejected", "failed", "cancelled"]


class Accepted(Message, tag="accepted", frozen=True, kw_only=True):
    """A request became an optimization."""

    optimization: str
    trace_id: str
    request: OptimizeRequest
    hosts: list[Name]


class Progress(Message, tag="progress", frozen=True, kw_only=True):
    """An optimization entered a phase."""

    optimization: str
    phase: str
    text: str


class Ended(Message, tag="ended", frozen=True, kw_only=True):
    """The one terminal state."""

    optimization: str
    terminal: Terminal
    reasons: list[str]


class CancelRequest(Message, tag="cancel", frozen=True, kw_only=True):
    """Stop an optimization; its hosts go back to what ran before."""

    optimization: str
    reason: str = "asked to"


class PauseRequest(Message, tag="pause", frozen=True, kw_only=True):
    """Let an optimization begin nothing new; what runs goes on to its end."""

    optimization: str


class ResumeRequest(Message, tag="resume", frozen=True, kw_only=True):
    """Let a paused optimization go on."""

    optimization: str


class FreezeRequest(Message, tag="freeze", frozen=True, kw_only=True):
    """Let nothing new begin in the whole fleet, or let it begin again. Reverts always work."""

    frozen: bool
    reason: str = ""


class DrainRequest(Message, tag="drain", frozen=True, kw_only=True):
    """Let nothing new begin on a host, or let it begin again; what runs there stays."""

    host: Name
    drained: bool
    reason: str = ""


class PolicyOrder(Message, tag="policy_order", frozen=True, kw_only=True):
    """Have nothing new tried with a policy (retire), or take that back, or prefer it (promote)."""

    order: Literal["promote", "retire"]
    policy: Name
    version: Annotated[str, Meta(max_length=200)] = ""
    """Empty for all of its versions, and for what minds make of it."""
    reason: Annotated[str, Meta(max_length=500)]


class PolicyOrdered(Message, tag="policy_ordered", frozen=True, kw_only=True):
    """What an operator's order has made of a policy."""

    policy: Name
    version: str = ""
    standing: Literal["retired", "ordinary", "preferred"]
    reason: str
    unix_ns: int = 0


class Reply(Message, tag="reply", frozen=True, kw_only=True):
    """A plain yes, or the problem."""

    problem: Problem | None = None


class Heartbeat(Message, tag="heartbeat", frozen=True, kw_only=True):
    """A service instance is alive."""

    service: str
    instance: str
    host: str = ""
    unix_ns: int = 0
    gone: list[str] = field(default_factory=list)
    """What it needs of the bus and does not find: it lives, and is not well."""


class RollCall(Message, tag="roll_call", frozen=True, kw_only=True):
    """Everybody is asked for a heartbeat within `within_s`, at a moment of their own choice."""

    within_s: Annotated[float, Meta(ge=0.0, le=60.0)] = 1.0
    look: bool = False
    """And to look then whether all is there that he needs: something of the bus was lost."""


class DeadLetter(Message, tag="dead_letter", frozen=True, kw_only=True):
    """A message that nobody could handle, as it came, but for what is too long to be kept."""

    stream: str
    subject: str
    sequence: int
    deliveries: int
    reason: str
    data: bytes
    size_bytes: int = 0
    """Of the whole message; `data` may be its beginning."""
    headers: dict[str, str] = field(default_factory=dict)
    unix_ns: int = 0


M = TypeVar("M", bound="Message | OptimizeRequest")

MAX_MESSAGE_BYTES = 512 * 1024
"""Far above any message of ours, below the server's own limit of 1 MiB."""


def encode(message: Message | OptimizeRequest) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[M]) -> M:
    """A message from JSON. Raises MessageError saying what was expected and what came."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(
            "message is too large",
            expected=f"at most {MAX_MESSAGE_BYTES} bytes",
            got=f"{len(data)} bytes",
            advice="Send less.",
        )
    try:
        message = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageError(
            f"not a valid {kind.__name__}",
            expected=f"JSON as `cox schema {kind.__name__}` describes it",
            got=str(error),
            advice="Correct the message and send it again.",
        ) from error
    if isinstance(message, OptimizeRequest):
        _check_said_once(data)
    if message.v != 1:
        raise MessageError(
            f"unknown version of {kind.__name__}",
            expected="v = 1",
            got=f"v = {message.v}",
            advice="Upgrade the older of the two sides.",
        )
    return message


def _check_said_once(data: bytes) -> None:
    """Raise MessageError for a field that is there twice: readers differ in which one counts."""

    def check(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            fields = [name for name, _ in pairs]
            twice = next(name for name in fields if fields.count(name) > 1)
            raise MessageError(
                "a field is there twice",
                expected="each field once",
                got=repr(twice)[:80],
                advice="Remove one of the two.",
            )
        return found

    json.loads(data, object_pairs_hook=check)
