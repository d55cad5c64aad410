"""The embedded mind: recall, then rules, then a small search, within the budget of rounds.

It needs no key, no network and no model, and the same question gives the same plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.minds.pairs import CONFIRM_PAIRS, room_for, shared
from services.planner.minds.rules import WORTH_TRYING, consider, expectation
from services.planner.minds.search import neighbours
from shared.messages import Candidate, Outcome, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.question import Question
    from shared.messages import Consideration


class EmbeddedMind:
    """Plans from memory, the profile and the manifests."""

    name = "embedded"

    async def plan(self, question: Question) -> Plan:
        """Confirm what won before; else try what fits best, and neighbours of it."""
        considered = consider(question)
        winner = _remembered_winner(question, considered)
        if winner is not None:
            return self._confirm(question, considered, winner)
        fitting = [c for c in considered if c.score >= WORTH_TRYING]
        if not fitting:
            return self._keep_default(question, considered)
        return self._search(question, considered, fitting)

    def _confirm(
        self, question: Question, considered: list[Consideration], winner: Outcome
    ) -> Plan:
        candidate = Candidate(
            policy=winner.policy,
            version=question.policies[winner.policy].manifest.version,
            parameters=winner.parameters,
            why=f"won for this fingerprint in {winner.optimization}",
            predicted_ratio=winner.ratio,
            predicted_low=winner.low,
            predicted_high=winner.high,
            origin="recall",
        )
        return Plan(
            optimization=question.optimization,
            mind=self.name,
            kind="reconfigure",
            considered=considered,
            candidates=[candidate],
            why=f"{winner.policy} won here before at ratio {winner.ratio:.2f}"
            f" [{winner.low:.2f}, {winner.high:.2f}]; confirm it, search nothing",
            evidence=_evidence(question),
            confirm_pairs=min(question.request.budget.rounds, CONFIRM_PAIRS),
            recalled=winner.optimization,
        )

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
            evidence=_evidence(question),
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
            evidence=_evidence(question),
            screen_pairs=screen,
            confirm_pairs=confirm,
        )


def _remembered_winner(question: Question, considered: Sequence[Consideration]) -> Outcome | None:
    """The best candidate that was promoted on this fingerprint and may still be tried.

    It is a manifest of now that says what can be tried; memories may be older, or made up.
    """
    scores = {c.policy: c.score for c in considered}
    for outcome in question.recollection.exact:
        if (
            outcome.verdict == "promote"
            and scores.get(outcome.policy, 0.0) >= WORTH_TRYING
            and question.policies[outcome.policy].manifest.is_whole(outcome.parameters)
        ):
            return outcome
    return None


def _candidates(question: Question, fitting: Sequence[Consideration]) -> list[Candidate]:
    """The best policy's defaults, its nearest neighbour, the second policy, more neighbours."""
    expected = expectation(question)

    def candidate(policy: str, parameters: dict[str, int], why: str, origin: str) -> Candidate:
        return Candidate(
            policy=policy,
            version=question.policies[policy].manifest.version,
            parameters=parameters,
            why=why,
            predicted_ratio=expected.ratio,
            predicted_low=expected.low,
            predicted_high=expected.high,
            origin="search" if origin == "search" else "rule",
        )

    firsts = [
        candidate(c.policy, question.policies[c.policy].manifest.defaults, c.reason, "rule")
        for c in fitting
    ]
    around = [
        candidate(fitting[0].policy, values, why, "search")
        for values, why in neighbours(question.policies[fitting[0].policy].manifest)
    ]
    return [firsts[0], *around[:1], *firsts[1:2], *around[1:]]


def _evidence(question: Question) -> dict[str, float]:
    """The profile's numbers that the class rests on."""
    return dict(question.profile.features)
