"""What won for this very fingerprint before is confirmed: nothing is looked for, no model asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.minds.candidates import remembered
from services.planner.minds.pairs import CONFIRM_PAIRS
from services.planner.minds.rules import WORTH_TRYING, consider
from shared.messages import Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.planner.minds.question import Question
    from shared.messages import Consideration, Outcome


def confirmation(question: Question, mind: str) -> Plan | None:
    """The plan to confirm the best that is remembered, in this mind's name; None if nothing is."""
    considered = consider(question)
    winner = _remembered_winner(question, considered)
    if winner is None:
        return None
    again = remembered(question.policies[winner.policy], winner, "won for this fingerprint")
    return Plan(
        optimization=question.optimization,
        mind=mind,
        kind="reconfigure",
        considered=considered,
        candidates=[again],
        why=f"{winner.policy} won here before at ratio {winner.ratio:.2f}"
        f" [{winner.low:.2f}, {winner.high:.2f}]; confirm it, search nothing",
        evidence=dict(question.profile.features),
        confirm_pairs=min(question.request.budget.rounds, CONFIRM_PAIRS),
        recalled=winner.optimization,
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
