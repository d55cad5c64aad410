"""Every metric of Coxswain: names after Prometheus's conventions, base units, bounded labels.

A label never holds an id, a host or a text: those belong into the trace. Where all values of a
metric's labels are known they are listed, and stand there as 0 before anything has happened:
otherwise `increase()` would miss the first event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

import msgspec

from shared.messages import Terminal, TrialEnd
from shared.optimization import Phase


class Metric(msgspec.Struct, frozen=True):
    """A name, what it means, and its labels with the values that are known beforehand."""

    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = {}
    """Label → its known values; no values where they cannot be listed."""


class Counter(Metric, frozen=True):
    """Only grows; its name ends in `_total`."""


class Gauge(Metric, frozen=True):
    """What is now."""


class Histogram(Metric, frozen=True):
    """Durations in seconds; its name ends in `_seconds`."""

    buckets: tuple[float, ...] = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0)
    """Upper bounds: from a quick handler to a long trial."""


_VERDICTS = ("promote", "revert", "inconclusive")
_MESSAGE = {"stream": (), "verb": ()}
_STAGES = {"stage": ("observe", "plan", "build", "trial", "deploy")}

# --- Every process -----------------------------------------------------------------------------

INFO: Final = Gauge(
    "coxswain_service_info",
    "Always 1; its labels say which process this is.",
    {"service": (), "instance": (), "host": ()},
)
CONNECTED: Final = Gauge("coxswain_bus_connected", "1 while the bus is connected, else 0.")
GONE: Final = Gauge(
    "coxswain_bus_gone",
    "Streams, consumers and buckets that this process needs and that are gone, by stream.",
    {"stream": ()},
)
LOSSES: Final = Counter(
    "coxswain_bus_losses_total",
    "Times that one of them was found gone or made anew: what was in it is lost.",
    {"stream": ()},
)
HANDLED: Final = Counter(
    "coxswain_messages_handled_total", "Commands and events handled to their end.", _MESSAGE
)
FAILED: Final = Counter(
    "coxswain_messages_failed_total",
    "Deliveries whose handler failed; they come again, or become dead letters.",
    _MESSAGE,
)
REDELIVERED: Final = Counter(
    "coxswain_messages_redelivered_total", "Deliveries after a message's first one.", _MESSAGE
)
DEAD_LETTERS: Final = Counter(
    "coxswain_dead_letters_total", "Messages that this process gave up.", {"stream": ()}
)
HANDLING: Final = Histogram(
    "coxswain_message_handling_seconds", "How long a handler worked on one delivery.", _MESSAGE
)
WAITED: Final = Histogram(
    "coxswain_message_wait_seconds",
    "The queue's lag: from a message's arrival in its stream to its first handling.",
    _MESSAGE,
)
PENDING: Final = Gauge(
    "coxswain_consumer_pending_messages",
    "The queue's depth: messages that nobody has been given yet (sampled).",
    {"consumer": ()},
)
UNACKNOWLEDGED: Final = Gauge(
    "coxswain_consumer_unacknowledged_messages",
    "Messages that were given to somebody and are not done (sampled).",
    {"consumer": ()},
)
PROCESS: Final = (
    INFO,
    CONNECTED,
    GONE,
    LOSSES,
    HANDLED,
    FAILED,
    REDELIVERED,
    DEAD_LETTERS,
    HANDLING,
    WAITED,
    PENDING,
    UNACKNOWLEDGED,
)

# --- Planner -----------------------------------------------------------------------------------

ACCEPTED: Final = Counter(
    "coxswain_optimizations_accepted_total",
    "Optimizations that were accepted: one for each kind of hosts in a request.",
)
ALIVE: Final = Gauge(
    "coxswain_optimizations",
    "Optimizations that are not over, by phase. Every planner says the same: do not add them up.",
    {"phase": tuple(phase for phase in get_args(Phase) if phase != "ended")},
)
ENDED: Final = Counter(
    "coxswain_optimizations_ended_total",
    "Optimizations by their terminal state.",
    {"terminal": get_args(Terminal)},
)
TRIALS: Final = Counter(
    "coxswain_trials_ended_total", "Trials by how they ended.", {"end": get_args(TrialEnd)}
)
DECISIONS: Final = Counter(
    "coxswain_decisions_total",
    "Trials by the judge's first clear word, each counted once.",
    {"verdict": _VERDICTS},
)
UNACCOUNTED: Final = Gauge(
    "coxswain_hosts_unaccounted",
    "Hosts that keep a policy of which no record tells. Every planner says the same.",
)
ROUNDS: Final = Counter("coxswain_rounds_total", "Paired rounds that budgets were charged for.")
WORKED: Final = Counter(
    "coxswain_work_seconds_total", "Wall seconds charged to optimizations.", _STAGES
)
TOKENS: Final = Counter("coxswain_tokens_total", "Model tokens charged to optimizations.", _STAGES)
DOLLARS: Final = Counter("coxswain_dollars_total", "Dollars charged to optimizations.", _STAGES)
PLANNER: Final = (
    ACCEPTED,
    ALIVE,
    ENDED,
    TRIALS,
    DECISIONS,
    UNACCOUNTED,
    ROUNDS,
    WORKED,
    TOKENS,
    DOLLARS,
)

# --- Learner -----------------------------------------------------------------------------------

VERDICTS: Final = Counter(
    "coxswain_verdicts_total",
    "The judge's words, one for each round it was shown.",
    {"verdict": ("continue", *_VERDICTS)},
)
OUTCOMES: Final = Counter(
    "coxswain_outcomes_total",
    "Outcomes that were remembered.",
    {"verdict": _VERDICTS},
)
DRIFTS: Final = Counter(
    "coxswain_drifts_total",
    "Hosts that were found not to do any more what they did under what they keep.",
    {"figure": ("waiting", "load")},
)
LEARNER: Final = (VERDICTS, OUTCOMES, DRIFTS)

# --- Executor: gate ------------------------------------------------------------------------------

BUILDS: Final = Counter(
    "coxswain_builds_total",
    "Policies that came to the gate.",
    {"outcome": ("accepted", "rejected", "failed")},
)
REJECTIONS: Final = Counter(
    "coxswain_gate_rejections_total",
    "Rejected policies by the stage that said no.",
    {"stage": ()},
)
BUILDING: Final = Histogram("coxswain_build_seconds", "How long the gate took for one policy.")
DEPLOYMENT_TOKENS: Final = Counter(
    "coxswain_deployment_tokens_total",
    "Deployment tokens that hosts asked for, by what for and what became of it.",
    {"purpose": ("trial", "deploy", "restore"), "outcome": ("signed", "pending", "refused")},
)
GATE: Final = (BUILDS, REJECTIONS, BUILDING, DEPLOYMENT_TOKENS)

# --- Executor: host ------------------------------------------------------------------------------

LOADS: Final = Counter("coxswain_loads_total", "Schedulers that were put in charge of this host.")
LOAD_FAILURES: Final = Counter(
    "coxswain_load_failures_total",
    "Schedulers that could not be put in charge, by what said no.",
    {"reason": ("token", "verifier", "attach", "foreign", "unsupported", "other")},
)
LOADING: Final = Histogram(
    "coxswain_load_seconds", "From an artifact's bytes to a scheduler in charge."
)
REVERTS: Final = Counter(
    "coxswain_reverts_total",
    "Times this host was put back on the kernel's default against a plan: asked for by an"
    " operator or the planner, because the scheduler left, at the executor's start, by the guard,"
    " or because the guard was gone.",
    {"cause": ("operator", "planner", "departure", "start", "guard", "unguarded")},
)
EXITS: Final = Counter(
    "coxswain_scheduler_exits_total",
    "Schedulers that left without being asked to, by class.",
    {"exit_class": ("benign", "foreign", "fault")},
)
STALLS: Final = Counter(
    "coxswain_stalls_total", "Schedulers that the kernel's watchdog ended: a task had to wait."
)
GUARDED: Final = Gauge("coxswain_guard_present", "1 while this host's guard answers, else 0.")
BREAKER: Final = Gauge(
    "coxswain_breaker",
    "1 for the state that the breaker of this host is in: open allows no load.",
    {"state": ("closed", "half-open", "open")},
)
QUARANTINED: Final = Gauge(
    "coxswain_quarantined_artifacts", "Artifacts that this host does not load again for now."
)
PROBES: Final = Counter(
    "coxswain_probes_total",
    "Probes that were asked for on this host, by what became of them; `left` is a program or table"
    " that the kernel still held.",
    {"outcome": ("read", "refused", "failed", "left")},
)
HOST: Final = (
    PROBES,
    LOADS,
    LOAD_FAILURES,
    LOADING,
    REVERTS,
    EXITS,
    STALLS,
    GUARDED,
    BREAKER,
    QUARANTINED,
)

# --- Observer ------------------------------------------------------------------------------------

MEASUREMENTS: Final = Counter(
    "coxswain_measurements_total",
    "Runs of workloads that were measured.",
    {"outcome": ("measured", "failed")},
)
PROFILES: Final = Counter(
    "coxswain_profiles_total",
    "Workloads that were profiled.",
    {"outcome": ("profiled", "failed")},
)
OBSERVER: Final = (MEASUREMENTS, PROFILES)

EVERY: Final[tuple[Metric, ...]] = (*PROCESS, *PLANNER, *LEARNER, *GATE, *HOST, *OBSERVER)
