"""The embedded mind: recall, then rules, then a small search, within the budget of rounds.

It needs no key, no network and no model, and the same question gives the same plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.minds.candidates import candidate, remembered
from services.planner.minds.pairs import MAX_CANDIDATES, room_for, shared
from services.planner.minds.recall import confirmation
from services.planner.minds.rules import (
    MIND,
    WORTH_TRYING,
    consider,
    expectation,
    neighbours_winner,
)
from services.planner.minds.search import neighbours
from shared.messages import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.question import Question
    from shared.messages import Candidate, Consideration
    from shared.policies import Policy


class EmbeddedMind:
    """Plans from memory, the profile and the manifests."""

    name = MIND

    async def plan(self, question: Question) -> Plan:
        """Confirm what won before; else try what fits best, and neighbours of it."""
        confirmed = confirmation(question, self.name, fresh)
        if confirmed is not None:
            return confirmed
        considered = consider(question)
        fitting = [c for c in considered if c.score >= WORTH_TRYING]
        if not fitting:
            return self._keep_default(question, considered)
        return self._search(question, considered, fitting)

    def _keep_default(self, question: Question, considered: list[Consideration]) -> Plan:
        profile = question.profile
        return Plan(
            optimization=question.optimization,
            mind=self.name,
            kind="keep-default",
            considered=considered,
            candidates=[],
            why=f"no policy fits {profile.workload_class}"
            f" (confidence {profile.confidence:.2f}) well enough to be worth a trial",
            evidence=dict(question.profile.features),
        )

    def _search(
        self,
        question: Question,
        considered: list[Consideration],
        fitting: Sequence[Consideration],
    ) -> Plan:
        rounds = question.request.budget.rounds
        candidates = _candidates(question, fitting)[: room_for(rounds)]
        screen, confirm = shared(rounds, len(candidates))
        best = fitting[0]
        how = (
            f"screen {len(candidates)} candidates with {screen} pairs each, confirm the best"
            if screen
            else "the budget allows no screening: confirm it directly"
        )
        return Plan(
            optimization=question.optimization,
            mind=self.name,
            kind="reconfigure",
            considered=considered,
            candidates=candidates,
            why=f"{best.policy} fits best: {best.reason}; {how}",
            evidence=dict(question.profile.features),
            screen_pairs=screen,
            confirm_pairs=confirm,
        )


def fresh(question: Question, considered: Sequence[Consideration]) -> list[Candidate]:
    """What the rules would try if nothing was remembered to have won."""
    fitting = [c for c in considered if c.score >= WORTH_TRYING]
    return _candidates(question, fitting)[:MAX_CANDIDATES] if fitting else []


def _candidates(question: Question, fitting: Sequence[Consideration]) -> list[Candidate]:
    """What won for a neighbour, the best policy's defaults, what is next to them, the second."""
    expected = expectation(question)
    policies = question.policies
    best = policies[fitting[0].policy]

    def expecting(policy: Policy, values: dict[str, int], why: str, *, rule: bool) -> Candidate:
        return candidate(
            policy,
            values,
            why=why,
            ratio=expected.ratio,
            low=expected.low,
            high=expected.high,
            origin="rule" if rule else "search",
        )

    firsts = [expecting(policies[c.policy], {}, c.reason, rule=True) for c in fitting]
    around = [expecting(best, values, why, rule=False) for values, why in neighbours(best.manifest)]
    found = [firsts[0], *around[:1], *firsts[1:2], *around[1:]]
    won = neighbours_winner(question, best.name)
    if won is not None:
        found.insert(0, remembered(best, won, "won for a similar fingerprint"))
    return [
        each
        for place, each in enumerate(found)
        if (each.policy, each.parameters) not in [(e.policy, e.parameters) for e in found[:place]]
    ]
