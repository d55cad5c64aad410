"""`report.json`: everything that is known of one optimization, every raw value included.

Ratios are candidate / baseline: the kernel's default, or what `incumbent` says. Times are
nanoseconds since 1970; durations carry their unit.
The document is versioned as messages are: fields are only ever added, with defaults.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from shared.errors import Problem
from shared.messages import (
    Built,
    Candidate,
    Cost,
    Deployed,
    ExitRecord,
    Fingerprint,
    Guardrail,
    GuardrailFinding,
    Inventory,
    Message,
    Neighbour,
    Objective,
    OptimizeRequest,
    Part,
    Plan,
    Profile,
    Reverted,
    TrialSpec,
)
from shared.optimization import Incumbent


class Standing(Part, frozen=True, kw_only=True):
    """Where the judge saw the objective after a round."""

    verdict: str
    ratio: float
    low: float
    high: float
    sequence_low: float
    sequence_high: float


class RoundReport(Part, frozen=True, kw_only=True):
    """One pair of runs: every metric of both sides, as measured."""

    index: int
    order: Literal["AB", "BA"]
    seed: int
    baseline: dict[str, float]
    candidate: dict[str, float]
    ratio: float | None
    """Of the objective; null if a side printed no usable number."""
    counters: dict[str, int] = field(default_factory=dict)
    gap_ns: int = 0
    seconds: float = 0.0
    standing: Standing | None = None


class MetricReport(Part, frozen=True, kw_only=True):
    """One metric over all rounds of a trial."""

    metric: str
    unit: str
    role: Literal["objective", "guardrail", "other"]
    direction: str
    """Which way is better; empty where the manifest does not say."""
    baseline: float
    """Median of the rounds under the baseline."""
    candidate: float
    """Median of the rounds under the candidate."""
    ratio: float | None
    """Median of the rounds' ratios; null where a value is not above zero."""
    low: float | None
    high: float | None
    """95 % block-bootstrap interval of that median."""


class TrialReport(Part, frozen=True, kw_only=True):
    """One candidate's trial on one host."""

    trial: str
    host: str
    stage: Literal["screen", "confirm"]
    candidate: Candidate
    artifact_sha256: str
    seed: int
    spec: TrialSpec
    pairs: int
    verdict: str
    """The judge's deciding word; empty if it never spoke."""
    ratio: float | None
    low: float | None
    high: float | None
    sequence_low: float | None
    sequence_high: float | None
    autocorrelation: float | None
    guardrails: list[GuardrailFinding]
    reasons: list[str]
    end: str
    problem: Problem | None
    exit_record: ExitRecord | None
    verifier_log: str
    metrics: list[MetricReport]
    rounds: list[RoundReport]


class Versions(Part, frozen=True, kw_only=True):
    """What it was done with."""

    coxswain: str
    kernel: str
    virtualization: str
    """none, kvm, qemu-tcg, …: what the canary ran on."""
    cpu_model: str
    mind: str


class Report(Message, tag="report", frozen=True, kw_only=True):
    """One optimization, told from its record and its events."""

    optimization: str
    trace_id: str
    terminal: str
    """promoted, kept-default, rejected, failed, cancelled; empty while it is not over."""
    reasons: list[str]
    request: OptimizeRequest
    objective: Objective
    guardrails: list[Guardrail]
    hosts: list[Inventory]
    canary: str
    fingerprint: Fingerprint | None
    profile: Profile | None
    plan: Plan | None
    builds: list[Built]
    trials: list[TrialReport]
    decisive: str
    """The trial that decided; empty if there was none. The next fields are its own."""
    candidate: Candidate | None
    baseline: dict[str, float]
    """Medians of every metric under the baseline."""
    measured: dict[str, float]
    """Medians of every metric under the candidate."""
    verdict: str
    ratio: float | None
    low: float | None
    high: float | None
    pairs: int
    predicted_ratio: float | None
    deployments: list[Deployed]
    reverted: list[Reverted]
    cost: dict[str, Cost]
    """By stage: observe, plan, build, trial, deploy."""
    total: Cost
    begun_unix_ns: int
    ended_unix_ns: int
    seconds: float
    versions: Versions
    unreadable_events: int = 0
    fingerprint_key: str = ""
    """The fingerprint's short name, for `cox optimize --fingerprint`."""
    beside: list[Neighbour] = field(default_factory=list)
    """Who ran beside the workload; their metrics are named `<workload>.<metric>`."""
    incumbent: Incumbent | None = None
    """What the canary kept for other workloads when this began."""
    guarded: bool = False
    """Whether those are neighbours here; then the incumbent is the trials' baseline."""

    @property
    def against(self) -> Incumbent | None:
        """What the trials compared with, if that is not the kernel's default."""
        return self.incumbent if self.guarded else None

    @property
    def decisive_trial(self) -> TrialReport | None:
        """The trial that decided."""
        return next((trial for trial in self.trials if trial.trial == self.decisive), None)
