"""From a record and a life to a report. Pure."""

from __future__ import annotations

import importlib.metadata
import math
import time
from typing import TYPE_CHECKING, Literal

from cli.report.model import (
    MetricReport,
    Report,
    RoundReport,
    Standing,
    TrialReport,
    Versions,
)
from services.learner.judge import distinct
from shared.fingerprint import key
from shared.messages import Cost
from shared.statistics import median, median_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.follow.life import Life, TrialLife
    from shared.messages import Guardrail, Objective, Round
    from shared.optimization import Optimization, TrialRecord


def compose(record: Optimization, life: Life, units: Mapping[str, str]) -> Report:
    """The report of an optimization; `units` names those of metrics that are no objective."""
    trials = [_trial(record, trial, life.trials.get(trial.trial), units) for trial in record.trials]
    decisive = _decisive(record, trials)
    metrics = decisive.metrics if decisive else []
    canary = record.inventories[record.canary]
    ended_unix_ns = record.ended_unix_ns or life.ended_unix_ns
    return Report(
        optimization=record.id,
        trace_id=record.trace_id,
        terminal=(record.terminal or "") if record.over else "",
        reasons=record.reasons,
        request=record.request,
        objective=record.objective,
        guardrails=record.guardrails,
        hosts=[record.inventories[host] for host in record.hosts if host in record.inventories],
        canary=record.canary,
        fingerprint=record.fingerprint,
        profile=record.profile,
        plan=record.plan,
        builds=list(record.builds.values()),
        trials=trials,
        decisive=decisive.trial if decisive else "",
        candidate=decisive.candidate if decisive else None,
        baseline={metric.metric: metric.baseline for metric in metrics},
        measured={metric.metric: metric.candidate for metric in metrics},
        verdict=decisive.verdict if decisive else "",
        ratio=decisive.ratio if decisive else None,
        low=decisive.low if decisive else None,
        high=decisive.high if decisive else None,
        pairs=decisive.pairs if decisive else 0,
        predicted_ratio=decisive.candidate.predicted_ratio if decisive else None,
        deployments=[
            life.deployed.get(h, record.deployments[h])
            for h in record.hosts
            if h in record.deployments
        ],
        reverted=life.reverted,
        cost=record.costs,
        total=_total(record.costs),
        begun_unix_ns=record.created_unix_ns,
        ended_unix_ns=ended_unix_ns,
        seconds=((ended_unix_ns or time.time_ns()) - record.created_unix_ns) / 1e9,
        versions=Versions(
            coxswain=importlib.metadata.version("coxswain"),
            kernel=canary.kernel,
            virtualization=canary.virtualization,
            cpu_model=canary.cpu_model,
            mind=record.plan.mind if record.plan else "",
        ),
        unreadable_events=life.unreadable,
        fingerprint_key=key(record.fingerprint) if record.fingerprint is not None else "",
        beside=record.beside,
        incumbent=record.incumbent,
        guarded=record.guarded,
    )


def _decisive(record: Optimization, trials: Sequence[TrialReport]) -> TrialReport | None:
    """The winner's trial, else the last confirmation, else the last trial at all."""
    if record.winner is not None:
        return next(trial for trial in trials if trial.trial == record.winner.trial)
    confirmed = [trial for trial in trials if trial.stage == "confirm"]
    some = confirmed or list(trials)
    return some[-1] if some else None


def _trial(
    record: Optimization, trial: TrialRecord, life: TrialLife | None, units: Mapping[str, str]
) -> TrialReport:
    rounds = distinct(list(life.rounds.values())) if life else []
    word = trial.decision or trial.judged
    ended = trial.ended
    return TrialReport(
        trial=trial.trial,
        host=trial.host,
        stage=trial.spec.stage,
        candidate=trial.candidate,
        artifact_sha256=trial.artifact.sha256,
        seed=trial.seed,
        spec=trial.spec,
        pairs=len(rounds),
        verdict=word.verdict if word else "",
        ratio=word.ratio if word else None,
        low=word.low if word else None,
        high=word.high if word else None,
        sequence_low=word.sequence_low if word else None,
        sequence_high=word.sequence_high if word else None,
        autocorrelation=word.autocorrelation if word else None,
        guardrails=list(word.guardrails) if word else [],
        reasons=list(word.reasons) if word else [],
        end=ended.end if ended else "",
        problem=ended.problem if ended else None,
        exit_record=ended.exit_record if ended else None,
        verifier_log=ended.verifier_log if ended else "",
        metrics=_metrics(record, trial.trial, rounds, units),
        rounds=[_round(record.objective, each, life) for each in rounds],
    )


def _round(objective: Objective, measured: Round, life: TrialLife | None) -> RoundReport:
    word = life.judged.get(measured.index + 1) if life else None
    return RoundReport(
        index=measured.index,
        order=measured.order,
        seed=measured.seed,
        baseline=measured.baseline,
        candidate=measured.candidate,
        ratio=_ratio(measured, objective.metric),
        counters=measured.counters,
        gap_ns=measured.gap_ns,
        seconds=measured.seconds,
        standing=Standing(
            verdict=word.verdict,
            ratio=word.ratio,
            low=word.low,
            high=word.high,
            sequence_low=word.sequence_low,
            sequence_high=word.sequence_high,
        )
        if word
        else None,
    )


def _metrics(
    record: Optimization, trial: str, rounds: Sequence[Round], units: Mapping[str, str]
) -> list[MetricReport]:
    """The objective first, then the guardrails, then the rest by name."""
    named: dict[str, Objective | Guardrail | None] = {record.objective.metric: record.objective}
    named.update({guardrail.metric: guardrail for guardrail in record.guardrails})
    printed = {name for each in rounds for name in (*each.baseline, *each.candidate)}
    named.update(dict.fromkeys(sorted(printed - named.keys())))
    return [
        _metric(name, part, trial, rounds, units) for name, part in named.items() if name in printed
    ]


def _metric(
    name: str,
    part: Objective | Guardrail | None,
    trial: str,
    rounds: Sequence[Round],
    units: Mapping[str, str],
) -> MetricReport:
    role: Literal["objective", "guardrail", "other"] = "other"
    if part is not None:
        role = "guardrail" if hasattr(part, "margin") else "objective"
    logs = [math.log(value) for each in rounds if (value := _ratio(each, name)) is not None]
    low = high = None
    if len(logs) > 1:
        low, high = (
            math.exp(bound)
            for bound in median_interval(logs, level=0.95, seed=f"{trial}/{len(logs)}")
        )
    return MetricReport(
        metric=name,
        unit=(part.unit if part else "") or units.get(name, ""),
        role=role,
        direction=part.direction if part else "",
        baseline=_median(each.baseline.get(name) for each in rounds),
        candidate=_median(each.candidate.get(name) for each in rounds),
        ratio=math.exp(median(logs)) if logs else None,
        low=low,
        high=high,
    )


def _ratio(measured: Round, metric: str) -> float | None:
    before, after = measured.baseline.get(metric, 0.0), measured.candidate.get(metric, 0.0)
    usable = before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after)
    return after / before if usable else None


def _median(values: object) -> float:
    known = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return median(known) if known else 0.0


def _total(costs: Mapping[str, Cost]) -> Cost:
    return Cost(
        wall_s=math.fsum(cost.wall_s for cost in costs.values()),
        cpu_s=math.fsum(cost.cpu_s for cost in costs.values()),
        tokens=sum(cost.tokens for cost in costs.values()),
        dollars=math.fsum(cost.dollars for cost in costs.values()),
    )
