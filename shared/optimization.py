"""One optimization's whole life: the record in the `optimizations` bucket.

Written by planners alone, with compare-and-set; read by anybody who wants to know how it goes.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import field

from shared.messages import (
    Artifact,
    Built,
    Candidate,
    Cost,
    Deployed,
    Fingerprint,
    Guardrail,
    Inventory,
    Judged,
    Neighbour,
    Objective,
    OptimizeRequest,
    Plan,
    Profile,
    Terminal,
    TrialEnded,
    TrialSpec,
    Vitals,
    Weighed,
)

Phase = Literal[
    "queued", "profiling", "planning", "building", "trying", "deploying", "remembering", "ended"
]


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message that must be sent: kept with the state that decided it, until it is."""

    id: str
    """The bus's message id: sending twice does no harm."""
    kind: Literal["cmd", "evt"]
    service: Literal["observer", "planner", "executor", "learner"]
    verb: str
    host: str | None
    body: msgspec.Raw


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of one candidate on one host."""

    trial: str
    host: str
    candidate: Candidate
    artifact: Artifact
    spec: TrialSpec
    seed: int
    pairs: int = 0
    judged: Judged | None = None
    """The judge's latest word."""
    decision: Judged | None = None
    """The judge's first word that was not `continue`: the one that counts."""
    ended: TrialEnded | None = None


class Incumbent(msgspec.Struct, frozen=True, kw_only=True):
    """What a canary keeps of an earlier optimization, made for other workloads than this one's."""

    optimization: str
    workloads: list[str]
    """Others that it was promoted for or beside."""
    candidate: Candidate
    gained: str
    """What its own trial had found, in words."""

    @property
    def policy(self) -> str:
        """Policy, version and parameters: what a ratio measured against it is relative to."""
        values = (f"{name}={value}" for name, value in sorted(self.candidate.parameters.items()))
        return " ".join((self.candidate.policy, self.candidate.version, *values))


class CohortRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a rollout: hosts that get the candidate together. The first is the canary."""

    hosts: list[str]
    stage: Literal["waiting", "placing", "soaking", "confirming", "weighing", "done", "halted"] = (
        "waiting"
    )
    asked: int = 0
    """So many of its hosts, from the first one on, have been told to load it."""
    began_unix_ns: int = 0
    weighed: Weighed | None = None


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known about one optimization."""

    id: str
    request: OptimizeRequest
    traceparent: str
    created_unix_ns: int
    expires_unix_ns: int
    """The budget's end."""
    phase: Phase
    deadline_unix_ns: int
    """When waiting in this phase is given up."""
    hosts: list[str]
    canary: str
    inventories: dict[str, Inventory]
    objective: Objective
    guardrails: list[Guardrail]
    round_s: float
    """About how long one measured run takes."""
    timeout_s: float
    """How long one may take at the most, set-up included."""
    beside: list[Neighbour] = field(default_factory=list)
    """Who runs beside the workload; their objectives and guardrails are among the guardrails."""
    incumbent: Incumbent | None = None
    """What the canary keeps for other workloads, as it was when this one began."""
    guarded: bool = False
    """Whether those are neighbours here: then what is kept is the baseline of the trials."""
    profile: Profile | None = None
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
    plans_asked: int = 0
    """How often a mind has been asked for it."""
    generation: int = 0
    """How many plans came before this one, each tried as far as its mind wanted to see."""
    begun: int = 0
    """Trials that had begun when this plan came."""
    builds: dict[str, Built] = field(default_factory=dict)
    """By policy."""
    trials: list[TrialRecord] = field(default_factory=list)
    winner: TrialRecord | None = None
    """The promoted trial."""
    cohorts: list[CohortRecord] = field(default_factory=list)
    """The rollout's steps, once there is a winner."""
    control: list[str] = field(default_factory=list)
    """Hosts that stay on what they run."""
    deployments: dict[str, Deployed] = field(default_factory=dict)
    confirmed: list[str] = field(default_factory=list)
    """Hosts whose kernel still ran it when their cohort had soaked; details are events."""
    vitals: dict[str, dict[str, Vitals | None]] = field(default_factory=dict)
    """By host and mark; only where there is a control to compare with."""
    harm: str = ""
    """What the winner did to a host during its rollout, if it did."""
    taken_back: str = ""
    """The trial of what was rolled out and taken back again."""
    request_sha256: str = ""
    """Of the request's bytes as they came: by them the gate finds it among those it has seen."""
    because: str = ""
    """Why it was opened, if no client asked for it just now: a drift, in words."""
    after: str = ""
    """The optimization in which that was found, whose request this one renews."""
    fence: int = 0
    """The fencing token under which its hosts are its own; rides with every command that loads."""
    evidence: str = ""
    """When the stream was made in which its evidence is; another one has none of it."""
    waits: str = ""
    """What it waits for while it is queued."""
    holds: list[str] = field(default_factory=list)
    """Why nothing new may begin: paused, frozen."""
    held_unix_ns: int = 0
    """Since when it stands still because of that; 0 while it goes on."""
    terminal: Terminal | None = None
    """Decided; it holds once `phase` is `ended`."""
    reasons: list[str] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    """By stage: observe, plan, build, trial, deploy."""
    outbox: list[Outgoing] = field(default_factory=list)
    sent: int = 0
    """How many messages were ever put into the outbox: makes their ids unique."""
    secret: str = ""
    """Makes those ids such that nobody else can have one dropped by using it before."""
    ended_unix_ns: int = 0
    at_unix_ns: int = 0
    """When this was written, by the wall clock of the planner that did. So are all other moments
    that something waits for: `services/planner/timelines.py`."""

    @property
    def trace_id(self) -> str:
        """The trace that this life is, 32 hex digits."""
        return self.traceparent.split("-")[1]

    @property
    def against(self) -> Incumbent | None:
        """What its trials compare with, if that is not the kernel's default."""
        return self.incumbent if self.guarded else None

    @property
    def rounds_used(self) -> int:
        """Pairs over all trials."""
        return sum(trial.pairs for trial in self.trials)

    @property
    def over(self) -> bool:
        """No more will happen."""
        return self.phase == "ended"
