"""Each trial: its candidate, before and after, the judge's word, its guardrails, its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.explaining.model import Bound, Refused, Tried
from cli.explaining.ratios import used
from cli.limits import allowed_ratio

if TYPE_CHECKING:
    from cli.explaining.known import Known
    from cli.report.model import TrialReport


def tried(known: Known) -> list[Tried]:
    """Every trial so far, in the order they were begun."""
    return [
        Tried(
            trial=trial.trial,
            host=trial.host,
            stage=trial.stage,
            candidate=trial.candidate,
            pairs=trial.pairs,
            most_pairs=trial.spec.max_pairs,
            verdict=trial.verdict,
            ratio=trial.ratio,
            low=trial.low,
            high=trial.high,
            reasons=trial.reasons,
            guardrails=bounds(trial),
            metrics=trial.metrics,
            end=trial.end,
            problem=trial.problem,
            exit_record=trial.exit_record,
            remembered=_remembered(known, trial),
        )
        for trial in known.report.trials
    ]


def bounds(trial: TrialReport) -> list[Bound]:
    """Its guardrails as the judge found them, each against the worst ratio that it allows."""
    asked = {each.metric: each for each in trial.spec.guardrails}
    return [
        Bound(
            metric=finding.metric,
            direction=asked[finding.metric].direction,
            state=finding.state,
            ratio=finding.ratio,
            low=finding.low,
            high=finding.high,
            allowed=(allowed := allowed_ratio(asked[finding.metric])),
            used=used(finding.ratio, allowed, asked[finding.metric].direction),
        )
        for finding in trial.guardrails
        if finding.metric in asked and finding.ratio > 0
    ]


def _remembered(known: Known, trial: TrialReport) -> str:
    """The verdict that the learner has kept of it."""
    kept = known.life.remembered
    # Every trial that ended has an outcome, in their order: services/planner/machine/ending.py.
    ended = [each.trial for each in known.record.trials if each.ended is not None]
    if kept is None or trial.trial not in ended or len(ended) != len(kept.outcomes):
        return ""
    return kept.outcomes[ended.index(trial.trial)].verdict


def refused(known: Known) -> list[Refused]:
    """Policies that there is no artifact of."""
    return [
        Refused(policy=built.policy, reasons=built.reasons, problem=built.problem)
        for built in known.builds.values()
        if built.artifact is None
    ]
