"""How an optimization ends, and what it has taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from services.planner.machine.losses import by_going_back
from services.planner.machine.writing import command, enter, stop_trial, tell
from shared.messages import Ended, Outcome, RememberCommand, RevertCommand

if TYPE_CHECKING:
    from shared.messages import Terminal
    from shared.optimization import Optimization

REMEMBER_S = 30.0


def give_up(state: Optimization, terminal: Terminal, reason: str, now_unix_ns: int) -> Optimization:
    """End early: whatever of this optimization runs anywhere goes back to the default."""
    if state.phase == "trying" and state.trials and state.trials[-1].ended is None:
        state = stop_trial(state, reason)
    state = replace(
        state,
        cohorts=[
            replace(cohort, stage="halted") if cohort.stage not in {"waiting", "done"} else cohort
            for cohort in state.cohorts
        ],
    )
    for host in sorted(_touched(state)):
        state = command(
            state,
            "executor",
            "revert",
            host,
            RevertCommand(optimization=state.id, reason=reason),
        )
    lost = by_going_back(state)
    taken_back = state.winner.trial if state.winner is not None else ""
    state = replace(state, winner=None, taken_back=taken_back)
    return finish(state, terminal, reason, now_unix_ns, *lost)


def _touched(state: Optimization) -> set[str]:
    """Hosts that may run something of this optimization."""
    asked = {host for cohort in state.cohorts for host in cohort.hosts[: cohort.asked]}
    return asked | ({state.canary} if state.trials else set())


def finish(
    state: Optimization, terminal: Terminal, reason: str, now_unix_ns: int, *more: str
) -> Optimization:
    """The terminal state is decided; what was learned is remembered before it holds."""
    state = replace(state, terminal=terminal, reasons=[text for text in (reason, *more) if text])
    outcomes = _outcomes(state, now_unix_ns)
    if not outcomes:
        return end(state, now_unix_ns)
    state = command(
        state,
        "learner",
        "remember",
        None,
        RememberCommand(optimization=state.id, outcomes=outcomes),
    )
    return enter(state, "remembering", REMEMBER_S, now_unix_ns, f"{terminal}: {reason}")


def end(state: Optimization, now_unix_ns: int) -> Optimization:
    """The terminal state holds: tell everybody."""
    assert state.terminal is not None
    state = tell(
        state,
        "ended",
        Ended(optimization=state.id, terminal=state.terminal, reasons=state.reasons),
    )
    return replace(state, phase="ended", deadline_unix_ns=0, ended_unix_ns=now_unix_ns)


def _outcomes(state: Optimization, now_unix_ns: int) -> list[Outcome]:
    """What each trial taught; failures are worth remembering as much as wins."""
    if state.fingerprint is None or state.profile is None:
        return []
    outcomes = []
    for trial in state.trials:
        if trial.ended is None:
            continue
        word = trial.decision or trial.judged
        verdict: Literal["promote", "revert", "inconclusive"] = "inconclusive"
        reasons = list(word.reasons) if word else []
        if trial.ended.end in {"fault", "verifier", "attach"}:
            verdict = "revert"
            reasons.append(f"{trial.ended.end}: {trial.ended.problem}")
        elif trial is not state.winner and word is not None and word.verdict == "revert":
            verdict = "revert"
        elif state.harm and trial.trial == state.taken_back:
            # Better on its canary, and harmful on another host.
            verdict = "revert"
            reasons.append(state.harm)
        elif trial == state.winner:
            verdict = "promote"
        outcomes.append(
            Outcome(
                fingerprint=state.fingerprint,
                workload=state.request.workload,
                policy=trial.candidate.policy,
                version=trial.candidate.version,
                parameters=trial.candidate.parameters,
                verdict=verdict,
                ratio=word.ratio if word else 1.0,
                low=word.low if word else 1.0,
                high=word.high if word else 1.0,
                pairs=trial.pairs,
                predicted_ratio=trial.candidate.predicted_ratio,
                optimization=state.id,
                unix_ns=now_unix_ns,
                features=state.profile.features,
                reasons=reasons,
                host=trial.host,
                predicted_low=trial.candidate.predicted_low,
                predicted_high=trial.candidate.predicted_high,
                mind=state.plan.mind if state.plan is not None else "",
                origin=trial.candidate.origin,
            )
        )
    return outcomes
