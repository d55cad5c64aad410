"""The judge of a trial: a pure function from its rounds to a verdict.

Promote only if the objective's bound has passed the least useful effect, every guardrail is
clear and every pair is usable. Revert when a bound says harm. Anything else ends inconclusive,
at `max_pairs` or as soon as a promotion is out of reach. docs/judging.md has the reasons and
the error rates.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from services.learner import reasons
from services.learner.question import Question, about_guardrail, about_objective, finding
from shared import statistics
from shared.messages import Guardrail, Judged, Round, TrialSpec, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

Verdict = Literal["continue", "promote", "revert", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what it rests on, without the estimates that only a report needs."""

    verdict: Verdict
    reasons: list[str]
    objective: Question
    guardrails: list[tuple[Guardrail, Question]]


def judge(spec: TrialSpec, rounds: Sequence[Round]) -> Judged:
    """The verdict after these rounds of one trial, in any order, repeated or not."""
    pairs = distinct(rounds)
    decision = decide(spec, pairs)
    series = decision.objective.series
    trial = pairs[0].trial if pairs else ""
    low, high = -math.inf, math.inf
    if len(series.values) > 1:
        low, high = statistics.median_interval(
            series.values, level=1 - spec.alpha, seed=f"{trial}/{len(series.values)}"
        )
    low, high = series.ratios(low, high)
    sequence_low, sequence_high = series.ratios(decision.objective.low, decision.objective.high)
    return Judged(
        optimization=pairs[0].optimization if pairs else "",
        trial=trial,
        measured_on=pairs[0].host if pairs else "",
        spec=spec,
        pairs=len(pairs),
        verdict=decision.verdict,
        ratio=series.middle,
        low=low,
        high=high,
        sequence_low=sequence_low,
        sequence_high=sequence_high,
        autocorrelation=statistics.autocorrelation(series.values),
        guardrails=[finding(guardrail, question) for guardrail, question in decision.guardrails],
        reasons=decision.reasons,
    )


def distinct(rounds: Sequence[Round]) -> list[Round]:
    """Every pair once, in the order they were run.

    Of two different reports of one pair (a trial resumed after a crash measures it again) the
    one with the smaller hash stays: a choice that knows neither arrival nor result.
    """
    kept: dict[tuple[str, int], Round] = {}
    for pair in rounds:
        key = (pair.trial, pair.index)
        other = kept.get(key)
        if other is None or (other != pair and _digest(pair) < _digest(other)):
            kept[key] = pair
    return sorted(kept.values(), key=lambda pair: (pair.trial, pair.index))


def decide(spec: TrialSpec, pairs: Sequence[Round]) -> Decision:
    """The verdict on distinct pairs in the order they were run."""
    objective = about_objective(spec, pairs)
    guardrails = [(each, about_guardrail(spec, each, pairs)) for each in spec.guardrails]
    verdict, because = _verdict(spec, pairs, objective, guardrails)
    standing = [reasons.standing(objective), *because, *reasons.serial(objective)]
    return Decision(verdict, standing, objective, guardrails)


def _verdict(
    spec: TrialSpec,
    pairs: Sequence[Round],
    objective: Question,
    guardrails: Sequence[tuple[Guardrail, Question]],
) -> tuple[Verdict, list[str]]:
    violated = [question for _, question in guardrails if question.failed]
    if objective.harmed or violated:
        worse = [reasons.harm(objective)] if objective.harmed else []
        return "revert", worse + [reasons.violation(question) for question in violated]
    questions = [objective, *(question for _, question in guardrails)]
    flaws = reasons.flaws(spec, pairs, [question.series for question in questions])
    over = len(pairs) >= spec.max_pairs
    if spec.stage == "screen":
        if over:
            return "inconclusive", ["A screening gives estimates, no promotion.", *flaws]
        return "continue", [f"Screening goes on to pair {spec.max_pairs}.", *flaws]
    if flaws:
        return "inconclusive", flaws
    progress = [
        reasons.usefulness(objective),
        *(reasons.guarding(question) for _, question in guardrails),
    ]
    if all(question.passed for question in questions):
        return "promote", progress
    if over:
        return "inconclusive", [*progress, f"All {spec.max_pairs} pairs are used up."]
    lost = [question for question in questions if not question.reachable(spec.max_pairs)]
    if lost:
        return "inconclusive", progress + [reasons.futility(spec, each) for each in lost]
    return "continue", progress


def _digest(pair: Round) -> bytes:
    return hashlib.sha256(encode(pair)).digest()
