"""The embedded mind: recall, then rules, then a search, within the budget of rounds.

It needs no key, no network and no model, and the same question gives the same plan. It searches in
generations of a few short looks each: what the rules say first; if none of that helps, whatever
else ships; then what lies around the best, and what Optuna draws from all that is known; and when
that brings nothing more, hooks that it puts together from primitives. It stops when a generation
has brought less than the least effect that is worth having.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from services.planner.minds.candidates import candidate, remembered
from services.planner.minds.composed import hopeful, made_of
from services.planner.minds.pairs import (
    CONFIRM_PAIRS,
    LOOK_PAIRS,
    MAX_CANDIDATES,
    looks,
    room_for,
    shared,
)
from services.planner.minds.recall import confirmation
from services.planner.minds.rules import (
    MIND,
    WORTH_TRYING,
    consider,
    expectation,
    neighbours_winner,
)
from services.planner.minds.search import around, neighbours
from services.planner.minds.study import suggestions
from shared.messages import Plan
from shared.policies import made_name, why_not_allowed
from shared.statistics import worsening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.planner.minds.question import Question, Tried
    from shared.messages import Candidate, Consideration
    from shared.policies import Policy

IDLE = "idle"
"""Who hardly runs gains nothing from who runs first."""

FIRST_LOOKS = 3
"""Candidates of the first generation, where rules know what fits."""

ONWARD_LOOKS = 2
"""New ones in each generation after it."""


class EmbeddedMind:
    """Plans from memory, profile and manifests, and from what its own plans have brought."""

    name = MIND

    async def plan(self, question: Question) -> Plan:
        """Confirm what won before; else try what fits best, and search from there."""
        considered = consider(question)
        if question.begun:
            return self._go_on(question, considered)
        confirmed = confirmation(question, self.name, fresh)
        if confirmed is not None:
            return confirmed
        fitting = [c for c in considered if c.score >= WORTH_TRYING]
        room = looks(question.request.budget.rounds, 0)
        if not fitting:
            others = _others(question, considered)[:room]
            if not others:
                return self._keep_default(question, considered, _no_fit(question))
            why = f"{_no_fit(question)}; a look at {_counted(others)} that may help all the same"
            return self._look(question, considered, others, why)
        best = fitting[0]
        candidates = _candidates(question, fitting)
        if room < 2 or len(candidates) == 1:
            return self._at_once(question, considered, candidates, best)
        first = candidates[: min(room, FIRST_LOOKS)]
        why = f"{best.policy} fits best: {best.reason}; a look at {_counted(first)}"
        return self._look(question, considered, first, why)

    def _at_once(
        self,
        question: Question,
        considered: list[Consideration],
        candidates: list[Candidate],
        best: Consideration,
    ) -> Plan:
        """One plan, where the budget has no room to look around."""
        rounds = question.request.budget.rounds
        candidates = candidates[: room_for(rounds)]
        screen, confirm = shared(rounds, len(candidates))
        how = (
            f"screen {len(candidates)} candidates with {screen} pairs each, confirm the best"
            if screen
            else "the budget allows no screening: confirm it directly"
        )
        return replace(
            self._plan(
                question, considered, candidates, f"{best.policy} fits best: {best.reason}; {how}"
            ),
            screen_pairs=screen,
            confirm_pairs=confirm,
        )

    def _go_on(self, question: Question, considered: list[Consideration]) -> Plan:
        """From what was tried: others if nothing helped, what lies around it if something did."""
        leaders = _leaders(question)
        room = looks(question.request.budget.rounds, question.rounds_used)
        least = math.log1p(question.objective.least_effect)
        if not leaders or _gain(question, leaders[0]) < least:
            others = _others(question, considered)[:room]
            if others:
                why = f"nothing has helped so far; a look at {_counted(others)} not made for this"
                return self._look(question, considered, others, why)
            composed = _composed(question, room)
            if composed:
                why = f"nothing that ships helps; a look at {_counted(composed)} put together anew"
                return self._look(question, considered, composed, why)
            if not leaders or _gain(question, leaders[0]) <= 0:
                why = "nothing that was tried looked better than the baseline"
                return self._keep_default(question, considered, why)
            return self._confirm(question, considered, leaders, "there is nothing left to try")
        best = leaders[0].candidate
        enough = _enough(question, leaders, least)
        further = _composed(question, room) if enough else _further(question, leaders, room)
        if further:
            how = "what is put together anew" if enough else "what lies around it"
            why = f"{best.policy} leads at ratio {leaders[0].ratio:.2f}; a look at {how}"
            return self._look(question, considered, further, why)
        return self._confirm(question, considered, leaders, enough or "the rest confirms")

    def _look(
        self,
        question: Question,
        considered: list[Consideration],
        candidates: list[Candidate],
        why: str,
    ) -> Plan:
        """A few short rounds for each of these; then it plans on."""
        left = question.rounds - LOOK_PAIRS * len(candidates)
        return replace(
            self._plan(question, considered, candidates, why),
            screen_pairs=LOOK_PAIRS,
            confirm_pairs=min(left, CONFIRM_PAIRS),
            more=True,
        )

    def _confirm(
        self,
        question: Question,
        considered: list[Consideration],
        leaders: Sequence[Tried],
        enough: str,
    ) -> Plan:
        """The best on rounds that nobody has looked at; the next only if that comes to nothing."""
        best = leaders[0]
        why = (
            f"{enough}: confirm {best.candidate.policy}, best of {len(question.tried)}"
            f" at ratio {best.ratio:.2f}"
        )
        return replace(
            self._plan(question, considered, [each.candidate for each in leaders[:2]], why),
            confirm_pairs=min(question.rounds, CONFIRM_PAIRS),
        )

    def _keep_default(self, question: Question, considered: list[Consideration], why: str) -> Plan:
        return replace(self._plan(question, considered, [], why), kind="keep-default")

    def _plan(
        self,
        question: Question,
        considered: list[Consideration],
        candidates: list[Candidate],
        why: str,
    ) -> Plan:
        return Plan(
            optimization=question.optimization,
            mind=self.name,
            kind="generate" if any(each.made for each in candidates) else "reconfigure",
            considered=considered,
            candidates=candidates,
            why=why,
            evidence=dict(question.profile.features),
        )


def _no_fit(question: Question) -> str:
    profile = question.profile
    return (
        f"no policy fits {profile.workload_class} (confidence {profile.confidence:.2f})"
        " well enough to be worth a trial"
    )


def _counted(candidates: Sequence[Candidate]) -> str:
    return "one" if len(candidates) == 1 else str(len(candidates))


def _gain(question: Question, tried: Tried) -> float:
    """Log of how much better it looks; above 0 is better."""
    return -worsening(max(tried.ratio, 1e-9), question.objective.direction)


def _leaders(question: Question) -> list[Tried]:
    """What may yet win, best first."""
    sound = [
        each
        for each in question.tried
        if each.pairs
        and not each.harmful
        and question.policies.holds(each.candidate.policy, each.candidate.made)
    ]
    return sorted(sound, key=lambda each: -_gain(question, each))


def _enough(question: Question, leaders: Sequence[Tried], least: float) -> str:
    """Why there is no need to look further; empty if there is.

    The last looks have brought nothing: the best is none of them, or beats what was known before
    by less than what is worth having.
    """
    before = [each for each in leaders if each in question.tried[:-ONWARD_LOOKS]]
    if len(question.tried) <= FIRST_LOOKS or not before:
        return ""
    if _gain(question, leaders[0]) - _gain(question, before[0]) < least:
        return "the last looks brought nothing more"
    return ""


def _others(question: Question, considered: Sequence[Consideration]) -> list[Candidate]:
    """Whatever else ships and nobody has tried here, with its defaults.

    What did harm here has score 0.
    """
    if question.profile.workload_class == IDLE:
        return []
    known = {each.candidate.policy for each in question.tried} | set(question.rejected)
    known |= {each.policy for each in question.recollection.exact}
    return [
        _expecting(question, question.policies[each.policy], {}, each.reason)
        for each in considered
        if each.score > 0
        and each.policy not in known
        and question.policies[each.policy].made is None
    ]


def _composed(question: Question, room: int) -> list[Candidate]:
    """Hooks put together for this class of workload, if a request wants any: one last look."""
    tried = {each.candidate.policy for each in question.tried if each.candidate.made is not None}
    if tried or not room or question.profile.workload_class == IDLE:
        return []
    found = []
    for each in hopeful(question.profile.workload_class):
        made = made_of(each, MIND)
        if not question.policies.holds(made_name(made), made):
            continue
        policy = question.policies.make(made)
        if why_not_allowed(policy, question.request) or policy.name in question.rejected:
            continue
        found.append(_expecting(question, policy, {}, each.summary))
    return found[: min(room, ONWARD_LOOKS)]


def _further(question: Question, leaders: Sequence[Tried], room: int) -> list[Candidate]:
    """One step from the leader that nobody has tried, and what the study draws; all within room."""
    best = leaders[0]
    policy = question.policies.policy(best.candidate.policy, best.candidate.made)
    tried = [(each.candidate.policy, each.candidate.parameters) for each in question.tried]
    steps = [
        (policy, values, why)
        for values, why in around(policy.manifest, dict(best.candidate.parameters))
        if (policy.name, values) not in tried
    ][:1]
    hopeful = [policy]
    for each in leaders[1:]:
        other = question.policies.policy(each.candidate.policy, each.candidate.made)
        if _gain(question, each) > 0 and other.name not in [known.name for known in hopeful]:
            hopeful.append(other)
    by_name = {each.name: each for each in hopeful}
    drawn = [
        (by_name[name], values, "drawn from what is known of its parameters")
        for name, values in suggestions(question, hopeful, ONWARD_LOOKS)
        if (name, values) not in [(p.name, v) for p, v, _ in steps]
    ]
    return [
        candidate(
            each,
            values,
            why=why,
            ratio=best.ratio,
            low=min(best.low, best.ratio),
            high=max(best.high, best.ratio),
            origin="search",
        )
        for each, values, why in [*steps, *drawn][: min(room, ONWARD_LOOKS)]
    ]


def fresh(question: Question, considered: Sequence[Consideration]) -> list[Candidate]:
    """What the rules would try if nothing was remembered to have won."""
    fitting = [c for c in considered if c.score >= WORTH_TRYING]
    return _candidates(question, fitting)[:MAX_CANDIDATES] if fitting else []


def _candidates(question: Question, fitting: Sequence[Consideration]) -> list[Candidate]:
    """What won for a neighbour, the best policy's defaults, what is next to them, the second."""
    policies = question.policies
    best = policies[fitting[0].policy]
    firsts = [_expecting(question, policies[c.policy], {}, c.reason, "rule") for c in fitting]
    steps = [_expecting(question, best, values, why) for values, why in neighbours(best.manifest)]
    found = [firsts[0], *steps[:1], *firsts[1:2], *steps[1:]]
    won = neighbours_winner(question, best.name)
    if won is not None:
        found.insert(0, remembered(best, won, "won for a similar fingerprint"))
    return [
        each
        for place, each in enumerate(found)
        if (each.policy, each.parameters) not in [(e.policy, e.parameters) for e in found[:place]]
    ]


def _expecting(
    question: Question,
    policy: Policy,
    values: Mapping[str, int],
    why: str,
    origin: Literal["rule", "search"] = "search",
) -> Candidate:
    """A candidate that is expected to do what the fitting policy does to this class."""
    expected = expectation(question)
    return candidate(
        policy,
        values,
        why=why,
        ratio=expected.ratio,
        low=expected.low,
        high=expected.high,
        origin=origin,
    )
