"""Trials on the canary: screen what has not been screened, then confirm the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from services.planner.machine import rollout
from services.planner.machine.building import build, missing, runs
from services.planner.machine.ending import finish, give_up
from services.planner.machine.generations import ask_again, key, wants_more
from services.planner.machine.writing import (
    SLACK_S,
    charge,
    command,
    enter,
    ns,
    stand_still,
    stop_trial,
)
from shared.messages import Judged, Round, TrialCommand, TrialSpec
from shared.optimization import TrialRecord
from shared.statistics import FIRST_LOOK, LOOK_AGAIN, worsening

if TYPE_CHECKING:
    from shared.messages import Artifact, Candidate, TrialEnded
    from shared.optimization import Optimization

MIN_PAIRS = FIRST_LOOK
"""The judge promotes nothing on fewer."""

AFRESH_PAIRS = 16
"""The most for the best of a fresh look: more rarely change a verdict."""

ONWARD_PAIRS = 10
"""The most that going on from a winner that has held may take."""


def on_trial_news(
    state: Optimization, news: Round | Judged | TrialEnded, now_unix_ns: int
) -> Optimization:
    """A pair, the judge's word on it, or the trial's end."""
    trial = state.trials[-1]
    if not _is_new(trial, news):
        return state
    if isinstance(news, Judged) and news.spec != trial.spec:
        why = f"{trial.host} has answered another question than its trial was asked"
        return give_up(state, "failed", why, now_unix_ns)
    if isinstance(news, Round):
        state = _update(state, replace(trial, pairs=news.index + 1))
        return replace(state, deadline_unix_ns=now_unix_ns + ns(_pair_s(state)))
    if isinstance(news, Judged):
        first = trial.decision is None and news.verdict != "continue"
        trial = replace(trial, judged=news, decision=news if first else trial.decision)
        state = _update(state, trial)
        if first and trial.ended is None and trial.spec.stage == "confirm":
            state = stop_trial(state, f"decided: {news.verdict} after {news.pairs} pairs")
    else:
        state = _update(state, replace(trial, ended=news, pairs=news.pairs))
        state = replace(state, costs=charge(state, "trial", news.cost))
    trial = state.trials[-1]
    if trial.ended is None:
        return state
    judged_pairs = trial.judged.pairs if trial.judged is not None else 0
    if trial.ended.end in {"completed", "stopped"} and judged_pairs < trial.ended.pairs:
        # The judge has not seen the last round yet; its word comes, or the deadline does.
        return replace(state, deadline_unix_ns=now_unix_ns + ns(SLACK_S))
    return _after_trial(state, trial, now_unix_ns)


def _is_new(trial: TrialRecord, news: Round | Judged | TrialEnded) -> bool:
    """Whether it is about this trial, from its own host, and not known yet."""
    host = news.measured_on if isinstance(news, Judged) else news.host
    if (news.trial, host) != (trial.trial, trial.host):
        return False
    if isinstance(news, Judged):
        return trial.judged is None or news.pairs > trial.judged.pairs
    if trial.ended is not None:
        return False
    return not isinstance(news, Round) or news.index >= trial.pairs


def _after_trial(state: Optimization, trial: TrialRecord, now_unix_ns: int) -> Optimization:
    assert trial.ended is not None
    end = trial.ended
    if end.end in {"workload", "foreign", "interrupted"}:
        why = str(end.problem) if end.problem else end.end
        return give_up(state, "failed", f"the trial on {end.host} broke off: {why}", now_unix_ns)
    if _is_proven(trial):
        return _proven(state, trial, now_unix_ns)
    return next_trial(state, now_unix_ns)


def _proven(state: Optimization, trial: TrialRecord, now_unix_ns: int) -> Optimization:
    """Keep what has won; if it won before, look one step further first."""
    plan = state.plan
    assert plan is not None
    held = state.winner
    if held is None or _gain(state, trial) < _gain(state, held):
        state = replace(state, winner=trial)
    left = state.request.budget.rounds - state.rounds_used
    onward = [c for c in plan.onward if not runs(state, c)][:1]
    if held is not None or not onward or left < MIN_PAIRS or state.holds:
        return rollout.begin(state, now_unix_ns)
    state = replace(
        state,
        plan=replace(plan, candidates=onward, screen_pairs=0, again=False, onward=[], instead=[]),
    )
    if missing(state, onward):
        text = f"{trial.candidate.policy} has held; one step further: {onward[0].why}"
        return build(state, onward, now_unix_ns, text)
    return next_trial(state, now_unix_ns)


def _gain(state: Optimization, trial: TrialRecord) -> float:
    """What a trial has measured, as a log ratio: below 0 is better."""
    word = trial.decision or trial.judged
    ratio = word.ratio if word is not None and word.ratio > 0 else 1.0
    return worsening(ratio, state.objective.direction)


def _afresh(state: Optimization, now_unix_ns: int) -> Optimization | None:
    """What was remembered has not held: look for something else, with what is left."""
    assert state.plan is not None
    plan = state.plan
    left = state.request.budget.rounds - state.rounds_used
    if not plan.instead or left < MIN_PAIRS:
        return None
    tried = [key(trial.candidate) for trial in state.trials]
    # What has just had its six pairs has an estimate by them, and needs no others to be ranked.
    known = [c for c in plan.candidates if key(c) in tried and not _broke(state, c)]
    new = [c for c in plan.instead if key(c) not in tried and not runs(state, c)]
    room = (left - MIN_PAIRS) // max(plan.instead_pairs, 1)
    candidates = [*known, *new[: room if known else max(1, room)]]
    if not candidates:
        return None
    screen = plan.instead_pairs if len(candidates) > 1 else 0
    plan = replace(
        plan,
        candidates=candidates,
        again=False,
        onward=[],
        instead=[],
        screen_pairs=screen,
        confirm_pairs=AFRESH_PAIRS,
    )
    state = replace(state, plan=plan)
    if missing(state, candidates):
        text = f"what is remembered has not held; {len(candidates)} others have a look"
        return build(state, candidates, now_unix_ns, text)
    return next_trial(state, now_unix_ns)


def _is_proven(trial: TrialRecord) -> bool:
    """Whether it was decided for the candidate, with every guardrail clear, and ended well."""
    assert trial.ended is not None
    if trial.spec.stage != "confirm" or trial.ended.end not in {"completed", "stopped"}:
        return False
    if trial.decision is None or trial.judged is None or trial.judged.verdict == "revert":
        return False
    clear = {each.metric for each in trial.decision.guardrails if each.state == "clear"}
    return (
        trial.decision.verdict == "promote"
        and trial.decision.pairs >= max(trial.spec.min_pairs, LOOK_AGAIN)
        and clear >= {each.metric for each in trial.spec.guardrails}
    )


def next_trial(state: Optimization, now_unix_ns: int) -> Optimization:
    """Screen what has not been screened, then confirm the best; stop when rounds run out."""
    if state.holds:
        return stand_still(state, now_unix_ns)
    assert state.plan is not None
    candidates = [c for c in state.plan.candidates if _artifact_of(state, c) is not None]
    more = wants_more(state)
    left = state.request.budget.rounds - state.rounds_used
    screening = state.plan.screen_pairs if len(candidates) > 1 or more else 0
    if screening:
        # What an earlier plan has screened may be screened again: it says more of it.
        tried = [key(trial.candidate) for trial in state.trials[state.begun :]]
        for candidate in candidates:
            if key(candidate) not in tried and left - screening >= MIN_PAIRS:
                return _start_trial(state, candidate, "screen", screening, now_unix_ns)
    if more and left >= MIN_PAIRS:
        return ask_again(state, now_unix_ns)
    if not candidates:
        return _nothing_left(state, now_unix_ns)
    # Six pairs that did not do are no last word; but there are no six others.
    confirmed = [
        key(trial.candidate)
        for trial in state.trials
        if trial.spec.stage == "confirm" and (state.plan.again or trial.spec.min_pairs >= MIN_PAIRS)
    ]
    ranked = sorted(
        (c for c in candidates if key(c) not in confirmed and not _broke(state, c)),
        key=lambda c: _estimate(state, c),
    )
    least = _least_pairs(state, ranked[0]) if ranked else MIN_PAIRS
    if (
        not ranked
        or left < least
        # The second best did not look better than the baseline when it was screened.
        or ((confirmed or state.winner is not None) and _estimate(state, ranked[0]) >= 0.0)
    ):
        return _nothing_left(state, now_unix_ns)
    pairs = min(left, least if least < MIN_PAIRS else state.plan.confirm_pairs)
    if state.winner is not None:
        pairs = min(pairs, ONWARD_PAIRS)
    return _start_trial(state, ranked[0], "confirm", pairs, now_unix_ns)


def _start_trial(
    state: Optimization,
    candidate: Candidate,
    stage: Literal["screen", "confirm"],
    pairs: int,
    now_unix_ns: int,
) -> Optimization:
    artifact = _artifact_of(state, candidate)
    assert artifact is not None
    number = len(state.trials) + 1
    confirmations = sum(1 for trial in state.trials if trial.spec.stage == "confirm")
    record = TrialRecord(
        trial=f"{state.id}-t{number}",
        host=state.canary,
        candidate=candidate,
        artifact=artifact,
        spec=TrialSpec(
            objective=state.objective,
            guardrails=state.guardrails,
            stage=stage,
            # A confirmation of fewer pairs, whoever planned it, ends without a promotion.
            min_pairs=_least_pairs(state, candidate)
            if stage == "confirm"
            else min(MIN_PAIRS, pairs),
            max_pairs=pairs,
            comparisons=confirmations + 1,
        ),
        # Rounds that nobody has looked at: every trial draws its own load.
        seed=state.request.seed * 1000 + number,
    )
    if not state.trials:
        state = rollout.look_before(state)
    state = replace(state, trials=[*state.trials, record])
    state = command(
        state,
        "executor",
        "trial",
        state.canary,
        TrialCommand(
            optimization=state.id,
            trial=record.trial,
            policy=candidate.policy,
            version=candidate.version,
            parameters=candidate.parameters,
            artifact=artifact,
            workload=state.request.workload,
            spec=record.spec,
            seed=record.seed,
            measure_timeout_s=state.timeout_s,
            beside=[each.workload for each in state.beside],
            against=state.against.optimization if state.against is not None else "",
            fence=state.fence,
            expires_unix_ns=state.expires_unix_ns,
            request_sha256=state.request_sha256,
        ),
    )
    text = f"{stage} {candidate.policy} on {state.canary}, up to {pairs} pairs"
    return enter(state, "trying", _pair_s(state), now_unix_ns, text)


def _least_pairs(state: Optimization, candidate: Candidate) -> int:
    """Pairs before which a confirmation promotes nothing: fewer for what has won here before.

    That it has is the learner's word, and a trial of these alone: if six pairs do not do, what is
    looked at afresh is worth the others more.
    """
    plan = state.plan
    again = plan is not None and plan.again and candidate == plan.candidates[0]
    return LOOK_AGAIN if again else MIN_PAIRS


def _nothing_left(state: Optimization, now_unix_ns: int) -> Optimization:
    """No candidate is left: keep what has won, look for others, or say which kind of no it was."""
    if state.winner is not None:
        return rollout.begin(state, now_unix_ns)
    afresh = _afresh(state, now_unix_ns)
    if afresh is not None:
        return afresh
    if not state.trials:
        rejections = [
            f"{policy}: {reason.stage}/{reason.rule}: {reason.text}"
            for policy, built in state.builds.items()
            for reason in built.reasons
        ]
        problems = [
            f"{policy}: {built.problem}"
            for policy, built in state.builds.items()
            if built.problem is not None
        ]
        if rejections or not problems:
            why = "; ".join(rejections) or "no candidate passed the gate"
            return finish(state, "rejected", why, now_unix_ns)
        return finish(state, "failed", "; ".join(problems), now_unix_ns)
    refused = [t for t in state.trials if t.ended is not None and t.ended.end == "verifier"]
    if len(refused) == len(state.trials):
        why = "; ".join(
            f"{t.candidate.policy}: the kernel's verifier said no: {t.ended.problem}"
            for t in refused
            if t.ended is not None
        )
        return finish(state, "rejected", why, now_unix_ns)
    return finish(state, "kept-default", _why_not(state), now_unix_ns)


def _why_not(state: Optimization) -> str:
    said = []
    for trial in state.trials:
        name = trial.candidate.policy
        if trial.ended is not None and trial.ended.end not in {"completed", "stopped"}:
            said.append(f"{name}: {trial.ended.end}: {trial.ended.problem or ''}".rstrip(": "))
        elif trial.decision is not None and trial.spec.stage == "confirm":
            said.append(f"{name}: {trial.decision.verdict}: {'; '.join(trial.decision.reasons)}")
    return " | ".join(said) or "no candidate looked better than the baseline when screened"


def _artifact_of(state: Optimization, candidate: Candidate) -> Artifact | None:
    built = state.builds.get(candidate.policy)
    return built.artifact if built is not None else None


def _broke(state: Optimization, candidate: Candidate) -> bool:
    """Whether a trial of it ended in a fault, or in the judge's clear no."""
    return any(
        key(trial.candidate) == key(candidate)
        and (
            (trial.ended is not None and trial.ended.end not in {"completed", "stopped"})
            or (trial.judged is not None and trial.judged.verdict == "revert")
        )
        for trial in state.trials
    )


def _estimate(state: Optimization, candidate: Candidate) -> float:
    """The gain so far as a log ratio, below 0 is better; the prediction where nothing is known."""
    direction = state.objective.direction
    known = [
        (trial.judged.pairs, worsening(trial.judged.ratio, direction))
        for trial in state.trials
        if key(trial.candidate) == key(candidate)
        and trial.judged is not None
        and trial.judged.ratio > 0
        and trial.judged.pairs > 0
    ]
    if not known:
        return worsening(max(candidate.predicted_ratio, 1e-9), direction)
    return sum(pairs * log for pairs, log in known) / sum(pairs for pairs, _ in known)


def _update(state: Optimization, trial: TrialRecord) -> Optimization:
    return replace(state, trials=[*state.trials[:-1], trial])


def _pair_s(state: Optimization) -> float:
    """How long to wait for the next pair: it holds two runs, and a restart of a service."""
    return 6 * state.round_s + SLACK_S
