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
    """The budget's end in wall time."""
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
    profile: Profile | None = None
    fingerprint: Fingerprint | None = None
    plan: Plan | None = None
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
    fence: int = 0
    """The token under which its hosts are its own; rides with every command that loads."""
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
    ended_unix_ns: int = 0

    @property
    def trace_id(self) -> str:
        """The trace that this life is, 32 hex digits."""
        return self.traceparent.split("-")[1]

    @property
    def rounds_used(self) -> int:
        """Pairs over all trials."""
        return sum(trial.pairs for trial in self.trials)

    @property
    def over(self) -> bool:
        """No more will happen."""
        return self.phase == "ended"
