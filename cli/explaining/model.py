"""What `cox explain --json` prints: an optimization's decision, and what it rests on.

Ratios are candidate / baseline: the kernel's default, or what `baseline` says. Durations carry
their unit. What was not recorded is null or empty, and `unknown` says so in words; nothing is
estimated to fill a gap. Every raw round is in `cox report --json`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from cli.report.model import MetricReport
from shared.errors import Problem
from shared.messages import (
    Candidate,
    Cost,
    Declined,
    ExitRecord,
    HostUsage,
    Made,
    Message,
    Neighbour,
    Objective,
    Part,
    Reason,
    Weighed,
)


class Changed(Part, frozen=True, kw_only=True):
    """A parameter's value, and what it would have been."""

    name: str
    value: int
    default: int | None
    """The manifest's; null where this machine has none for that version."""
    unit: str = ""
    summary: str = ""
    """What the manifest says that it does."""


class Prediction(Part, frozen=True, kw_only=True):
    """What the mind expected of a candidate, against what was measured."""

    ratio: float
    low: float
    high: float
    came: Literal["", "as predicted", "better than predicted", "worse than predicted"] = ""
    """Where the measured ratio is, as seen from that range; empty before there is one."""
    overlaps: bool = False
    """Whether the measured interval and that range have something in common."""


class Decision(Part, frozen=True, kw_only=True):
    """What was decided in the end, or where it stands."""

    terminal: str
    """promoted, kept-default, rejected, failed, cancelled; empty while it is not over."""
    phase: str
    reasons: list[str]
    trial: str
    """The trial that decided, or the last one so far; the next fields are its own."""
    candidate: Candidate | None
    changed: list[Changed]
    """Its parameters that differ from the manifest's defaults."""
    verdict: str
    pairs: int
    ratio: float | None
    low: float | None
    high: float | None
    wanted: float
    """The ratio that a promotion needs at the least."""
    prediction: Prediction | None


class Considered(Part, frozen=True, kw_only=True):
    """A policy that a mind looked at, or a candidate that it named, and was not tried."""

    policy: str
    score: float | None
    """How well it fits, 0 to 1; null for a candidate."""
    reason: str


class Recalled(Part, frozen=True, kw_only=True):
    """The memory that a plan starts from."""

    optimization: str
    state: str
    """How that one ended; empty if its record is gone."""
    ratio: float | None
    rounds: int


class Why(Part, frozen=True, kw_only=True):
    """Who planned, and on what grounds."""

    mind: str
    kind: str
    why: str
    profile: str
    """The workload's behaviour in words, as its observer told it."""
    workload_class: str
    confidence: float | None
    evidence: dict[str, float]
    """Features of the profile that the plan names."""
    recalled: Recalled | None
    remembered_exact: int | None
    """Outcomes that were known for this fingerprint; null where no span tells."""
    remembered_near: int | None
    taken: list[Considered]
    left: list[Considered]
    declined: list[Declined]
    asked: int
    """How often a mind was asked for the plan; more than once after a crash."""
    problem: Problem | None


class Bound(Part, frozen=True, kw_only=True):
    """A guardrail as it was judged: how much of what is allowed was used up."""

    metric: str
    direction: str
    state: Literal["clear", "open", "violated"]
    ratio: float
    low: float
    high: float
    allowed: float
    """The worst ratio that it allows."""
    used: float | None
    """The change towards that, as a share of it on the log axis: 1 is at the bound, below 0 is
    better than before; null where it allows nothing."""


class Tried(Part, frozen=True, kw_only=True):
    """One trial, from its candidate to how it ended."""

    trial: str
    host: str
    stage: Literal["screen", "confirm"]
    candidate: Candidate
    pairs: int
    most_pairs: int
    verdict: str
    """The judge's deciding word, or the latest; empty if it never spoke."""
    ratio: float | None
    low: float | None
    high: float | None
    reasons: list[str]
    guardrails: list[Bound]
    metrics: list[MetricReport]
    """Before and after: medians over the rounds, the objective first."""
    end: str
    """How it ended; empty while it runs."""
    problem: Problem | None
    exit_record: ExitRecord | None
    remembered: str
    """As what the learner has kept it: promote, revert, inconclusive; empty if it has not."""


class Refused(Part, frozen=True, kw_only=True):
    """A policy that the gate did not build."""

    policy: str
    reasons: list[Reason]
    problem: Problem | None


class PolicyWords(Part, frozen=True, kw_only=True):
    """What a policy does, by its own manifest and README."""

    name: str
    version: str
    known: bool
    """Whether this machine's catalogue has it in that version: else the rest is empty."""
    summary: str = ""
    overview: str = ""
    when_not: str = ""
    good_for: list[str] = field(default_factory=list)
    longest_wait_s: float | None = None
    """That a runnable task can have, with 1000 of them in a queue."""
    parameters: list[Changed] = field(default_factory=list)
    """All of them, with the values of the candidate that decided, or else its first one's."""
    made: Made | None = None
    """The hooks themselves and who wrote them, where they do not ship."""


class PhaseSpent(Part, frozen=True, kw_only=True):
    """Wall time in one phase."""

    phase: str
    seconds: float
    share: float
    """Of the whole, 0 to 1."""


class Rounds(Part, frozen=True, kw_only=True):
    """What the time of trials went into."""

    pairs: int
    seconds: float
    """Of all pairs, switching and settling included."""
    waiting_s: float | None
    """Of the phase of trying, outside of any pair: judging, the next trial's start, a pair that
    broke off; null where the events are gone."""


class ModelUse(Part, frozen=True, kw_only=True):
    """What a model was asked, and what that cost."""

    models: list[str]
    calls: int | None
    """Answers it gave; null where no span tells. So are the next ones."""
    seconds: float | None
    input_tokens: int | None
    output_tokens: int | None
    tokens: int
    dollars: float


class Spent(Part, frozen=True, kw_only=True):
    """Where time and money went."""

    seconds: float
    """From the request to the end, or until now."""
    phases: list[PhaseSpent]
    rounds: Rounds
    stages: dict[str, Cost]
    """As the services charged them: observe, plan, build, trial."""
    model: ModelUse | None
    """Null if none was asked."""


class Counted(Part, frozen=True, kw_only=True):
    """The frame's counters over the candidate's side of a trial's pairs."""

    trial: str
    runs_of_workload: int
    counters: dict[str, int]
    """Added up over the pairs; of names ending in `_max_ns` the largest."""
    wait_mean_ms: float | None
    """Of all tasks on the host: from runnable to a CPU."""
    wait_longest_ms: float | None


class Waiting(Part, frozen=True, kw_only=True):
    """One kind of the workload's tasks, as the profile saw it wait for a CPU."""

    who: Literal["all tasks", "hogs", "sleepers", "short-lived"]
    count: float | None
    """At a time."""
    run_mean_ms: float | None
    wait_mean_ms: float | None
    wait_p99_ms: float | None


class Queue(Part, frozen=True, kw_only=True):
    """The run queue before any candidate, and with one."""

    waited: list[Waiting]
    """Before: while the workload was profiled."""
    host: dict[str, float]
    """Before: features of the host and of what its tasks stalled on."""
    counted: Counted | None
    """With the candidate that decided; null where no pair has counters."""


class Placed(Part, frozen=True, kw_only=True):
    """A host of this optimization, and what it runs."""

    host: str
    role: Literal["canary", "rollout", "control", "target"]
    runs: str
    """What schedules it now, in words."""
    has_it: bool
    """Whether that is this optimization's candidate."""
    deployed: bool
    confirmed: bool
    problem: Problem | None
    reverted: str
    """Why it went back to the default; empty if it did not."""
    counters: dict[str, int]
    """The frame's, when it was confirmed; empty if nobody looked."""


class Step(Part, frozen=True, kw_only=True):
    """A cohort of the rollout."""

    number: int
    """0 is the canary alone."""
    hosts: list[str]
    stage: str
    weighed: Weighed | None
    """The judge's word; null where there is no control to compare with."""
    treated: list[HostUsage]
    """What its hosts' tasks did before and while it soaked, where counters are all there."""
    control: list[HostUsage]


class Pair(Part, frozen=True, kw_only=True):
    """One pair of a trial, for one metric."""

    index: int
    """From 0."""
    order: str
    baseline: float
    candidate: float
    ratio: float


class Worse(Part, frozen=True, kw_only=True):
    """A metric that got worse, or came near to what is allowed."""

    trial: str
    policy: str
    metric: str
    unit: str
    role: Literal["objective", "guardrail"]
    direction: str
    ratio: float
    limit: float
    """What was wanted of an objective, what is allowed of a guardrail."""
    state: str
    """A guardrail's: clear, open, violated; empty for the objective."""
    pairs: int
    """That say something of it."""
    pairs_worse: int
    worst: Pair


class Moved(Part, frozen=True, kw_only=True):
    """Another metric that changed beyond its noise; no manifest says which way is better."""

    metric: str
    unit: str
    baseline: float
    candidate: float
    ratio: float
    summary: str


class Next(Part, frozen=True, kw_only=True):
    """Something to do about it."""

    command: str
    why: str


class Trouble(Part, frozen=True, kw_only=True):
    """What there is to know when it disappoints."""

    why: list[str]
    """What makes it a disappointment."""
    worse: list[Worse]
    moved: list[Moved]
    victims: dict[str, str]
    """Whom a bad policy would hurt, by the workload's manifest: what they do, by tasks' name."""
    next: list[Next]


class Explanation(Message, tag="explanation", frozen=True, kw_only=True):
    """One optimization, explained from what was recorded of it."""

    optimization: str
    trace_id: str
    workload: str
    objective: Objective
    over: bool
    canary: str
    beside: list[Neighbour]
    baseline: str
    """What ratios are relative to."""
    because: str = ""
    """Why it was opened, if no client asked for it just then."""
    decision: Decision
    why: Why | None
    """Null before there is a plan."""
    tried: list[Tried]
    refused: list[Refused]
    policies: list[PolicyWords]
    spent: Spent
    queue: Queue
    hosts: list[Placed]
    steps: list[Step]
    trouble: Trouble | None
    """Null if nothing disappoints."""
    unknown: list[str]
    """What was not measured or is not kept any more, in words."""
