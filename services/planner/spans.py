"""What the planner's steps look like in the trace: one short span for each decision."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from services.planner.tenants import unguarded
from shared import attributes as names
from shared.telemetry import NEW_TRACE, context_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.messages import Objective, OptimizeRequest
    from shared.optimization import Optimization
    from shared.telemetry import Telemetry


class Renewal(NamedTuple):
    """What a request is opened once more for: whose it was, and why."""

    of: Optimization
    because: str


@contextlib.contextmanager
def request_span(
    telemetry: Telemetry,
    request: OptimizeRequest,
    objective: Objective,
    parts: Mapping[str, Sequence[str]],
    renewal: Renewal | None = None,
) -> Iterator[dict[str, str]]:
    """The root of a request's trace, around the writing of its records; their traceparents by id.

    It is over at once: the trace is there while the work goes on. `parts` are hosts by
    optimization. A single one lives below the root itself; each of several below a span of its
    own there, so that the tree tells them apart.
    """
    own = [
        {names.OPTIMIZATION_ID: identity, names.TARGET_HOSTS: hosts}
        for identity, hosts in parts.items()
    ]
    with telemetry.span(
        "optimize",
        of=request.workload,
        parent=NEW_TRACE,
        links=[context_of(renewal.of.traceparent)] if renewal is not None else [],
        attributes={
            **(own[0] if len(own) == 1 else {}),
            **({names.OPTIMIZATION_BECAUSE: renewal.because} if renewal is not None else {}),
            names.WORKLOAD_NAME: request.workload,
            names.BUDGET_ROUNDS: request.budget.rounds,
            names.BUDGET_SECONDS: request.budget.seconds,
            names.OBJECTIVE_METRIC: objective.metric,
            names.OBJECTIVE_DIRECTION: objective.direction,
        },
    ) as root:
        if len(own) == 1:
            yield dict.fromkeys(parts, root.traceparent)
            return
        contexts = {}
        for number, (identity, attributes) in enumerate(zip(parts, own, strict=True), 1):
            of = f"{number} of {len(own)}"
            with telemetry.span("part", of=of, attributes=attributes) as part:
                contexts[identity] = part.traceparent
        yield contexts


def tell_step(telemetry: Telemetry, before: Optimization, after: Optimization) -> None:
    """Spans for what was decided between two states of one optimization."""
    if before.phase == "queued" and after.phase == "profiling":
        _tell_company(telemetry, after)
    if len(after.trials) > len(before.trials):
        trial = after.trials[-1]
        with telemetry.span(
            "decide",
            of=f"{trial.spec.stage} {trial.candidate.policy}",
            attributes={
                names.OPTIMIZATION_ID: after.id,
                names.TRIAL_ID: trial.trial,
                names.TRIAL_STAGE: trial.spec.stage,
                names.DECISION_CONSIDERED: _standing(before),
                names.DECISION_CHOSEN: [
                    f"{trial.candidate.policy} {_parameters(trial.candidate.parameters)}"
                ],
                names.DECISION_WHY: trial.candidate.why,
                names.PREDICTED_RATIO: trial.candidate.predicted_ratio,
                names.PREDICTED_LOW: trial.candidate.predicted_low,
                names.PREDICTED_HIGH: trial.candidate.predicted_high,
            },
        ):
            pass
    for number, cohort in enumerate(after.cohorts):
        was = before.cohorts[number].stage if before.cohorts else "waiting"
        if cohort.stage != was and cohort.stage in {"done", "halted"}:
            _tell_cohort(telemetry, after, number)
    if after.phase == "ended" and before.phase != "ended":
        with telemetry.span(
            "finish",
            of=after.terminal or "",
            attributes={
                names.OPTIMIZATION_ID: after.id,
                names.OPTIMIZATION_TERMINAL: after.terminal or "",
                names.DECISION_CONSIDERED: _standing(after),
                names.DECISION_WHY: "; ".join(after.reasons),
            },
        ):
            pass


def _tell_company(telemetry: Telemetry, state: Optimization) -> None:
    """Who runs beside it and what it is compared with, where that is not nobody and the default."""
    whys = [f"{each.workload}: {each.why}" for each in state.beside]
    if state.against is not None:
        whys.append(f"compared with {state.against.policy}: {state.against.gained}")
    whys += filter(None, [unguarded(state)])
    if not whys:
        return
    with telemetry.span(
        "decide",
        of="neighbours",
        attributes={
            names.OPTIMIZATION_ID: state.id,
            names.WORKLOAD_BESIDE: [each.workload for each in state.beside],
            names.DECISION_WHY: "; ".join(whys),
        },
    ):
        pass


def _tell_cohort(telemetry: Telemetry, state: Optimization, number: int) -> None:
    """A step of the rollout, from its first command to its end; a link for each of its hosts."""
    cohort = state.cohorts[number]
    placed = [state.deployments[host] for host in cohort.hosts if host in state.deployments]
    why = list(cohort.weighed.reasons) if cohort.weighed is not None else []
    with telemetry.span(
        "cohort",
        of="canary" if number == 0 else f"{number} of {len(state.cohorts) - 1}",
        links=[context_of(each.traceparent) for each in placed if each.traceparent],
        begun_unix_ns=cohort.began_unix_ns,
        attributes={
            names.OPTIMIZATION_ID: state.id,
            names.COHORT_NUMBER: number,
            names.COHORT_COUNT: len(state.cohorts),
            names.COHORT_HOSTS: cohort.hosts,
            names.COHORT_CONTROL: state.control,
            names.COHORT_STAGE: cohort.stage,
            names.DECISION_WHY: "; ".join(state.reasons if cohort.stage == "halted" else why),
        },
    ) as span:
        if cohort.weighed is not None:
            span.set({names.VERDICT: cohort.weighed.verdict, names.RATIO: cohort.weighed.ratio})


def _standing(state: Optimization) -> list[str]:
    """Where each trial so far stands, one line each."""
    lines = []
    for trial in state.trials:
        word = trial.decision or trial.judged
        stands = f"ratio {word.ratio:.3f}, {word.verdict}" if word else "no verdict"
        end = trial.ended.end if trial.ended else "running"
        who = f"{trial.candidate.policy} {_parameters(trial.candidate.parameters)}"
        lines.append(f"{trial.spec.stage} {who}: {stands} after {trial.pairs} pairs ({end})")
    return lines


def _parameters(values: dict[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "defaults"
