"""When it disappoints: what got worse, in which pair most, whom it may have hurt, what to do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cli import limits
from cli.explaining.model import Moved, Next, Pair, Trouble, Worse
from cli.explaining.tried import bounds, refused
from services.planner.minds.rules import WORTH_TRYING
from shared.messages import Guardrail, Objective
from shared.statistics import worsening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.explaining.known import Known
    from cli.report.model import MetricReport, TrialReport
    from shared.messages import OptimizeRequest, Terminal

NEAR: Final = 0.5
"""A guardrail that has used up so much of what it allows is worth a look."""

MOST_ROUNDS: Final = 1000
"""The largest budget that a request may have."""

DISAPPOINTING: Final[frozenset[Terminal]] = frozenset({"kept-default", "rejected", "failed"})


def trouble(known: Known) -> Trouble | None:
    """None if nothing disappoints."""
    trials = _of_interest(known)
    worse = [each for trial in trials for each in _worse(trial)]
    why = list(_why(known, worse))
    if not why:
        return None
    manifest = known.workload
    return Trouble(
        why=why,
        worse=worse,
        moved=[each for trial in trials for each in _moved(known, trial)],
        victims={each.comm: each.what for each in manifest.victim} if manifest and worse else {},
        next=list(_next(known, worse))[:2],
    )


def _of_interest(known: Known) -> list[TrialReport]:
    """The confirmations, each of which decided something; without any the last trial."""
    confirmed = [trial for trial in known.report.trials if trial.stage == "confirm"]
    return confirmed or known.report.trials[-1:]


def _why(known: Known, worse: list[Worse]) -> Iterator[str]:
    terminal = known.report.terminal
    if terminal in DISAPPOINTING:
        yield f"it ended as {terminal}"
    trial = known.decisive
    if trial is not None and trial.end not in {"", "completed", "stopped"}:
        what = f": {trial.problem}" if trial.problem is not None else ""
        yield f"the trial of {trial.candidate.policy} ended by {trial.end}{what}"
    for each in worse:
        if trial is None or each.trial != trial.trial or each.role != "guardrail":
            continue
        beyond = worsening(each.ratio, each.direction) > worsening(each.limit, each.direction)
        if each.state == "violated" or beyond:
            yield f"guardrail {each.metric} is beyond what it allows"
        elif _is_near(each):
            yield f"guardrail {each.metric} is near what it allows"
    if any(trial and each.trial == trial.trial and each.role == "objective" for each in worse):
        yield f"the objective {known.record.objective.metric} got worse"
    if known.record.harm:
        yield known.record.harm


def _is_near(each: Worse) -> bool:
    room = worsening(each.limit, each.direction)
    return room > 0 and worsening(each.ratio, each.direction) >= NEAR * room


def _is_told(each: Worse, metric: MetricReport) -> bool:
    """Whether it is more than noise, or so much that it counts all the same."""
    if each.state == "violated":
        return True
    if worsening(each.ratio, each.direction) <= 0:
        return False
    return _is_beyond_noise(metric) or (each.role == "guardrail" and _is_near(each))


def _worse(trial: TrialReport) -> Iterator[Worse]:
    """The objective and the guardrails that got worse beyond noise, the worst first."""
    states = {each.metric: each.state for each in bounds(trial)}
    asked: list[Objective | Guardrail] = [trial.spec.objective, *trial.spec.guardrails]
    found = []
    for part in asked:
        metric = next((each for each in trial.metrics if each.metric == part.metric), None)
        pairs = list(_pairs(trial, part.metric))
        if metric is None or metric.ratio is None or not pairs:
            continue
        guarded = isinstance(part, Guardrail)
        each = Worse(
            trial=trial.trial,
            policy=trial.candidate.policy,
            metric=part.metric,
            unit=metric.unit,
            role="guardrail" if guarded else "objective",
            direction=part.direction,
            ratio=metric.ratio,
            limit=limits.allowed_ratio(part)
            if isinstance(part, Guardrail)
            else limits.wanted_ratio(part),
            state=states.get(part.metric, ""),
            pairs=len(pairs),
            pairs_worse=sum(worsening(pair.ratio, part.direction) > 0 for pair in pairs),
            worst=max(pairs, key=lambda pair: worsening(pair.ratio, part.direction)),
        )
        if _is_told(each, metric):
            found.append(each)
    yield from sorted(found, key=lambda each: -worsening(each.ratio, each.direction))


def _pairs(trial: TrialReport, metric: str) -> Iterator[Pair]:
    """Pairs that both sides have a number above zero for."""
    for each in trial.rounds:
        before, after = each.baseline.get(metric, 0.0), each.candidate.get(metric, 0.0)
        if before > 0 and after > 0 and math.isfinite(before) and math.isfinite(after):
            yield Pair(
                index=each.index,
                order=each.order,
                baseline=before,
                candidate=after,
                ratio=after / before,
            )


def _moved(known: Known, trial: TrialReport) -> Iterator[Moved]:
    """Metrics that nobody guards, and that changed beyond their own noise."""
    manifest = known.workload
    words = {each.metric: each.summary for each in manifest.metric} if manifest else {}
    for metric in trial.metrics:
        if metric.role == "other" and _is_beyond_noise(metric) and metric.ratio is not None:
            yield Moved(
                metric=metric.metric,
                unit=metric.unit,
                baseline=metric.baseline,
                candidate=metric.candidate,
                ratio=metric.ratio,
                summary=words.get(metric.metric, ""),
            )


def _is_beyond_noise(metric: MetricReport) -> bool:
    return metric.low is not None and metric.high is not None and not metric.low <= 1 <= metric.high


# --- What to do --------------------------------------------------------------------------------


def _next(known: Known, worse: list[Worse]) -> Iterator[Next]:
    record = known.record
    again = _asked_again(record.request)
    yield from _of_the_gate(known)
    yield from _of_a_fault(known)
    trial = known.decisive
    if trial is not None and not worse and trial.verdict == "inconclusive":
        rounds = min(MOST_ROUNDS, 2 * record.request.budget.rounds)
        if rounds > record.request.budget.rounds and _was_promising(trial):
            why = "the median was as good as wanted, and the pairs were too few to prove it"
            yield Next(command=f"{again} --rounds {rounds}", why=why)
    if any(each.state == "violated" or each.role == "objective" for each in worse):
        policy = worse[0].policy
        if policy in known.policies:
            why = f"says when {policy} is the wrong one, and how far each tunable goes"
            yield Next(command=f"cox policies show {policy}", why=why)
    yield from _another_policy(known, again)
    if known.trace is not None:
        why = "every decision with its reasons, and how long each took"
        yield Next(command=f"cox trace {record.id}", why=why)


def _asked_again(request: OptimizeRequest) -> str:
    """The command that asks for the same, where it was asked for."""
    hosts = ["--hosts", ",".join(request.hosts)] if request.hosts else []
    beside = [f"--beside {name}" for name in request.beside]
    return " ".join(["cox optimize", request.workload, *hosts, *beside])


def _of_the_gate(known: Known) -> Iterator[Next]:
    for each in refused(known):
        found = known.policies.get(each.policy)
        if each.reasons and found is not None and found.made is None:
            command = f"cox gate check bpf/policies/{each.policy}/hooks.bpf.c"
            why = f"shows what the gate has against {each.policy}, on this machine"
            yield Next(command=command, why=why)
            return
        if each.problem is not None:
            yield Next(command="cox doctor", why="looks for what keeps the gate from building")
            return


def _of_a_fault(known: Known) -> Iterator[Next]:
    """A host that had trouble may load nothing now: its breaker, or a quarantine."""
    broken = next((t for t in known.report.trials if t.end in {"fault", "attach"}), None)
    silent = known.report.terminal == "failed" and broken is None
    if broken is not None:
        why = f"what {broken.host} runs now, and whether its breaker lets it load policies"
        yield Next(command="cox hosts", why=why)
    elif silent and not refused(known):
        yield Next(command="cox hosts", why="which hosts are there and can be steered now")


def _another_policy(known: Known, again: str) -> Iterator[Next]:
    """The best policy that was looked at and not tried: by name it is measured all the same."""
    plan = known.record.plan
    if plan is None or known.report.terminal not in {"kept-default", "rejected"}:
        return
    allowed = set(known.record.request.policies)
    tried = {candidate.policy for candidate in known.candidates}
    left = [
        each
        for each in plan.considered
        if each.policy not in tried and (not allowed or each.policy in allowed)
    ]
    best = max(left, key=lambda each: each.score, default=None)
    # Where nothing was tried, a measurement of the next best is the only way to know.
    if best is not None and (best.score >= WORTH_TRYING or not known.report.trials):
        why = f"has it measured; it was left at a score of {best.score:.2f}: {best.reason}"
        yield Next(command=f"{again} --policy {best.policy}", why=why)


def _was_promising(trial: TrialReport) -> bool:
    objective = trial.spec.objective
    if trial.ratio is None or trial.ratio <= 0:
        return False
    wanted = limits.wanted_ratio(objective)
    return worsening(trial.ratio, objective.direction) <= worsening(wanted, objective.direction)
