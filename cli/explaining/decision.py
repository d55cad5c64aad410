"""What was decided, who planned it, and what else there was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cli.explaining.model import Changed, Considered, Decision, Prediction, Recalled, Why
from cli.explaining.spending import spans_of
from cli.follow.narrate import parameters
from cli.limits import wanted_ratio
from cli.optimizations import summary
from shared import attributes as names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.explaining.known import Known
    from cli.report.model import TrialReport
    from shared.messages import Candidate, Plan


def decision(known: Known) -> Decision:
    """What was decided, or where it stands."""
    record, trial = known.record, known.decisive
    return Decision(
        terminal=known.report.terminal,
        phase=record.phase,
        reasons=record.reasons,
        trial=trial.trial if trial else "",
        candidate=trial.candidate if trial else None,
        changed=[
            each
            for each in (values(known, trial.candidate) if trial else [])
            if each.value != each.default
        ],
        verdict=trial.verdict if trial else "",
        pairs=trial.pairs if trial else 0,
        ratio=trial.ratio if trial else None,
        low=trial.low if trial else None,
        high=trial.high if trial else None,
        wanted=wanted_ratio(record.objective),
        prediction=_prediction(trial, record.objective.direction) if trial else None,
    )


def values(known: Known, candidate: Candidate) -> list[Changed]:
    """A candidate's parameters, beside what the manifest of its version says of them."""
    written = known.written(candidate)
    described = {each.name: each for each in written.manifest.parameter} if written else {}
    return [
        Changed(
            name=name,
            value=value,
            default=described[name].default if name in described else None,
            unit=described[name].unit if name in described else "",
            summary=described[name].summary if name in described else "",
        )
        for name, value in candidate.parameters.items()
    ]


def _prediction(trial: TrialReport, direction: str) -> Prediction:
    candidate = trial.candidate
    low, high = candidate.predicted_low, candidate.predicted_high
    came: Literal["", "as predicted", "better than predicted", "worse than predicted"] = ""
    if trial.ratio is not None and trial.pairs:
        came = "as predicted"
        if not low <= trial.ratio <= high:
            worse = (trial.ratio > high) == (direction == "lower")
            came = "worse than predicted" if worse else "better than predicted"
    overlaps = trial.low is not None and trial.high is not None
    return Prediction(
        ratio=candidate.predicted_ratio,
        low=low,
        high=high,
        came=came,
        overlaps=overlaps and (trial.low or 0.0) <= high and (trial.high or 0.0) >= low,
    )


def why(known: Known) -> Why | None:
    """Who planned and on what grounds; None before there is a plan."""
    record = known.record
    plan = record.plan
    if plan is None:
        return None
    profile = record.profile
    chosen = {candidate.policy for candidate in known.candidates}
    exact, near = _remembered(known)
    return Why(
        mind=plan.mind,
        kind=plan.kind,
        why=plan.why,
        profile=profile.summary if profile else "",
        workload_class=profile.workload_class if profile else "",
        confidence=profile.confidence if profile else None,
        evidence=plan.evidence,
        recalled=_recalled(known, plan),
        remembered_exact=exact,
        remembered_near=near,
        taken=[
            _looked_at(plan, name) for name in dict.fromkeys(c.policy for c in known.candidates)
        ],
        left=[
            *(_looked_at(plan, c.policy) for c in plan.considered if c.policy not in chosen),
            *_untried(known),
        ],
        declined=plan.declined,
        asked=record.plans_asked,
        problem=plan.problem,
    )


def _looked_at(plan: Plan, policy: str) -> Considered:
    found = next((each for each in plan.considered if each.policy == policy), None)
    if found is None:
        return Considered(policy=policy, score=None, reason="")
    return Considered(policy=policy, score=found.score, reason=found.reason)


def _untried(known: Known) -> Iterator[Considered]:
    """Candidates of the plan that had no trial, and why, as far as the record says it."""
    record = known.record
    tried = [trial.candidate for trial in record.trials]
    planned = record.plan.candidates if record.plan is not None else []
    for candidate in known.candidates:
        if candidate in tried:
            continue
        built = known.builds.get(candidate.policy)
        if candidate not in planned:
            reason = "named in the plan, and left out: the canary keeps it already"
        elif built is not None and built.artifact is None:
            reason = "named in the plan; the gate did not build it"
        elif record.over:
            reason = "named in the plan; no trial of it was begun before the end"
        else:
            reason = "named in the plan; no trial of it has begun yet"
        name = f"{candidate.policy} {parameters(candidate.parameters)}"
        yield Considered(policy=name, score=None, reason=reason)


def _recalled(known: Known, plan: Plan) -> Recalled | None:
    if not plan.recalled:
        return None
    if known.recalled is None:
        return Recalled(optimization=plan.recalled, state="", ratio=None, rounds=0)
    told = summary(known.recalled)
    return Recalled(
        optimization=plan.recalled, state=told.state, ratio=told.ratio, rounds=told.rounds
    )


def _remembered(known: Known) -> tuple[int | None, int | None]:
    """How many outcomes the learner knew when it was asked for this plan."""
    for span in reversed(spans_of(known, "recall")):
        exact = span.attributes.get(names.RECALL_EXACT)
        near = span.attributes.get(names.RECALL_NEAR)
        if isinstance(exact, int) and isinstance(near, int):
            return exact, near
    return None, None
