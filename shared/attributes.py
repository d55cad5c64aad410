"""Every name that a span may carry: its own, its attributes', and its resource's.

A name that is not here is refused when a span is made, so that what one service writes another
one, a query or a dashboard can rely on. Ours begin with `coxswain.`; the others are those of
OpenTelemetry's semantic conventions that we use. The GenAI ones are still "Development" there:
when they change, they change here alone.
"""

from __future__ import annotations

from typing import Final, Literal

SpanName = Literal[
    "optimize",  # the root: a request was accepted; `optimize {workload}`
    "part",  # below the root of a request over several kinds of hosts: one of them
    "observe",  # a host's profile
    "deepen",  # a workload run again, with a probe in the kernel
    "probe",  # that probe, on its host
    "recall",  # what is known for a fingerprint
    "plan",  # a decision: what will be tried
    "build",  # from a policy's source to its artifact, or to reasons
    "check",  # one stage of the gate
    "trial",  # a candidate against the default on one host
    "round",  # one pair of a trial
    "measure",  # one run of the workload
    "judge",  # a decision: promote, revert, go on, inconclusive
    "decide",  # a decision: what follows from the state so far
    "cohort",  # a step of a rollout; links to the `deploy` of each of its hosts
    "deploy",  # a promoted candidate onto one host
    "confirm",  # a look at a host's kernel after its cohort has soaked
    "weigh",  # a decision: whether a cohort's hosts do worse than the control
    "revert",  # a host back to the kernel's default
    "remember",  # outcomes into memory
    "finish",  # the terminal state
    "invoke_agent",  # GenAI: `invoke_agent {agent}`
    "chat",  # GenAI: `chat {model}`
    "execute_tool",  # GenAI: `execute_tool {tool}`
]
"""The first word of a span's name; few, so that they can be counted and compared."""

# --- One optimization --------------------------------------------------------------------------

OPTIMIZATION_ID: Final = "coxswain.optimization.id"
OPTIMIZATION_BECAUSE: Final = "coxswain.optimization.because"
"""Why it was opened, if no client asked for it just now."""
OPTIMIZATION_TERMINAL: Final = "coxswain.optimization.terminal"
OPTIMIZATION_PHASE: Final = "coxswain.optimization.phase"
WORKLOAD_NAME: Final = "coxswain.workload.name"
WORKLOAD_BESIDE: Final = "coxswain.workload.beside"
WORKLOAD_CLASS: Final = "coxswain.workload.class"
WORKLOAD_CLASS_CONFIDENCE: Final = "coxswain.workload.class_confidence"
TARGET_HOSTS: Final = "coxswain.target.hosts"
BUDGET_ROUNDS: Final = "coxswain.budget.rounds"
BUDGET_SECONDS: Final = "coxswain.budget.seconds"
OBJECTIVE_METRIC: Final = "coxswain.objective.metric"
OBJECTIVE_DIRECTION: Final = "coxswain.objective.direction"
OUTCOME: Final = "coxswain.outcome"
"""How a span ended when that is neither a plain success nor an error: rejected, cancelled."""

# --- Decisions ---------------------------------------------------------------------------------

DECISION_CONSIDERED: Final = "coxswain.decision.considered"
"""What was looked at, one text each: its name, its score, and why it was taken or left."""
DECISION_CHOSEN: Final = "coxswain.decision.chosen"
DECISION_WHY: Final = "coxswain.decision.why"
PLAN_MIND: Final = "coxswain.plan.mind"
PLAN_KIND: Final = "coxswain.plan.kind"
PLAN_RECALLED: Final = "coxswain.plan.recalled"
PLAN_DECLINED: Final = "coxswain.plan.declined"
"""Minds that were asked before and gave no plan, with the reason, one text each."""
PROMPT_SHA256: Final = "coxswain.prompt.sha256"
"""Of the file under services/planner/prompts/ that a model was given."""
PREDICTED_RATIO: Final = "coxswain.predicted.ratio"
PREDICTED_LOW: Final = "coxswain.predicted.low"
PREDICTED_HIGH: Final = "coxswain.predicted.high"

# --- Hosts, policies, artifacts ----------------------------------------------------------------

HOST_KERNEL: Final = "coxswain.host.kernel"
POLICY_NAME: Final = "coxswain.policy.name"
POLICY_VERSION: Final = "coxswain.policy.version"
POLICY_PARAMETERS: Final = "coxswain.policy.parameters"
"""`name=value`, one text each."""
ARTIFACT_SHA256: Final = "coxswain.artifact.sha256"
ARTIFACT_CACHED: Final = "coxswain.artifact.cached"
GATE_STAGE: Final = "coxswain.gate.stage"
GATE_REASONS: Final = "coxswain.gate.reasons"
GATE_SANDBOXED: Final = "coxswain.gate.sandboxed"
SCHEDULER_STATE: Final = "coxswain.scheduler.state"
SCHEDULER_OPS: Final = "coxswain.scheduler.ops"
SCHEDULER_GAP_NS: Final = "coxswain.scheduler.gap_ns"
EXIT_KIND: Final = "coxswain.exit.kind"
EXIT_REASON: Final = "coxswain.exit.reason"

PROBE_NAME: Final = "coxswain.probe.name"
PROBE_CGROUP: Final = "coxswain.probe.cgroup"
PROBE_COMPILE_S: Final = "coxswain.probe.compile_s"
PROBE_KERNEL_SHARE: Final = "coxswain.probe.kernel_share"
"""CPU time of its programs, of all the host's while it was attached."""

# --- Trials and verdicts -----------------------------------------------------------------------

TRIAL_ID: Final = "coxswain.trial.id"
TRIAL_STAGE: Final = "coxswain.trial.stage"
TRIAL_PAIRS: Final = "coxswain.trial.pairs"
TRIAL_END: Final = "coxswain.trial.end"
ROUND_INDEX: Final = "coxswain.round.index"
ROUND_ORDER: Final = "coxswain.round.order"
ROUND_BASELINE: Final = "coxswain.round.baseline"
ROUND_CANDIDATE: Final = "coxswain.round.candidate"
ROUND_RATIO: Final = "coxswain.round.ratio"
SEED: Final = "coxswain.seed"
VERDICT: Final = "coxswain.verdict"
VERDICT_REASONS: Final = "coxswain.verdict.reasons"
RATIO: Final = "coxswain.ratio"
RATIO_LOW: Final = "coxswain.ratio.low"
RATIO_HIGH: Final = "coxswain.ratio.high"
RECALL_EXACT: Final = "coxswain.recall.exact"
RECALL_NEAR: Final = "coxswain.recall.near"
OUTCOMES: Final = "coxswain.outcomes"

# --- Rollouts ----------------------------------------------------------------------------------

COHORT_NUMBER: Final = "coxswain.cohort.number"
"""0 is the canary alone."""
COHORT_COUNT: Final = "coxswain.cohort.count"
COHORT_HOSTS: Final = "coxswain.cohort.hosts"
COHORT_CONTROL: Final = "coxswain.cohort.control"
COHORT_STAGE: Final = "coxswain.cohort.stage"
"""How far it came: done, or halted."""

# --- What it cost ------------------------------------------------------------------------------

COST_WALL_S: Final = "coxswain.cost.wall_s"
COST_CPU_S: Final = "coxswain.cost.cpu_s"
COST_TOKENS: Final = "coxswain.cost.tokens"
COST_DOLLARS: Final = "coxswain.cost.dollars"

# --- Trouble -----------------------------------------------------------------------------------

PROBLEM_KIND: Final = "coxswain.problem.kind"
PROBLEM_TEXT: Final = "coxswain.problem.text"
DELIVERIES: Final = "coxswain.message.deliveries"
"""How often this piece of work was handed out; more than 1 after a crash."""

# --- OpenTelemetry's semantic conventions ------------------------------------------------------

SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
HOST_NAME: Final = "host.name"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_AGENT: Final = "gen_ai.agent.name"
GEN_AI_TOOL: Final = "gen_ai.tool.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""Input, cache reads and cache creation together, as the conventions count."""
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

ALL: Final = frozenset(
    value for name, value in dict(globals()).items() if name.isupper() and isinstance(value, str)
)
"""Every attribute name above."""
