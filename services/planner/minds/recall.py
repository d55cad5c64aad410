"""What won for this very fingerprint before is confirmed first, and no model is asked.

What the learner itself vouches for is looked at again after six pairs. Once that holds, and it was
not the first time, one step on from it is tried: the most hopeful that is known, else what nobody
has tried. If it does not hold, others are looked at afresh, with what is left of the same budget.
Praise that the learner does not vouch for has its own full trial, and buys no second one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.planner.minds.candidates import candidate, remembered
from services.planner.minds.pairs import CONFIRM_PAIRS, SCREEN_PAIRS
from services.planner.minds.rules import WORTH_TRYING, consider
from services.planner.minds.search import around
from shared.messages import Plan
from shared.statistics import worsening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.planner.minds.question import Question
    from shared.messages import Candidate, Consideration, Outcome, Vouched

    Search = Callable[[Question, Sequence[Consideration]], list[Candidate]]
    """What a mind would try if nothing was remembered."""

ONWARD_AFTER = 2
"""Promotions after which a winner is gone on from: the first time it comes back it is cheap."""

ONWARD_GAIN = 0.98
"""What is told to be better than the winner by less is not worth a trial of its own."""


def confirmation(question: Question, mind: str, search: Search | None = None) -> Plan | None:
    """The plan to confirm the best that is remembered, in this mind's name; None if nothing is."""
    considered = consider(question)
    found = _remembered_winner(question, considered)
    if found is None:
        return None
    winner, vouched = found
    again = remembered(question.policies[winner.policy], winner, "won for this fingerprint")
    why = (
        f"{winner.policy} won here before at ratio {winner.ratio:.2f}"
        f" [{winner.low:.2f}, {winner.high:.2f}]; confirm it, search nothing"
    )
    onward: list[Candidate] = []
    instead: list[Candidate] = []
    if vouched is not None:
        onward = _onward(question, winner) if vouched.promotions >= ONWARD_AFTER else []
        instead = search(question, considered) if search is not None else []
        further = f"; if it holds, try {onward[0].why}" if onward else ""
        otherwise = f"; if it does not, look at {len(instead)} others" if instead else ""
        why = f"{why}{further}{otherwise}"
    return Plan(
        optimization=question.optimization,
        mind=mind,
        kind="reconfigure",
        considered=considered,
        candidates=[again],
        why=why,
        evidence=dict(question.profile.features),
        confirm_pairs=min(question.request.budget.rounds, CONFIRM_PAIRS),
        recalled=winner.optimization,
        again=vouched is not None,
        onward=onward,
        instead=instead,
        instead_pairs=SCREEN_PAIRS,
    )


def _remembered_winner(
    question: Question, considered: Sequence[Consideration]
) -> tuple[Outcome, Vouched | None] | None:
    """The best candidate that was promoted on this fingerprint and may still be tried.

    What the learner vouches for comes first, whatever else is praised. It is a manifest of now
    that says what can be tried; memories may be older, or made up.
    """
    scores = {c.policy: c.score for c in considered}
    found = [
        (outcome, _vouched(question, outcome))
        for outcome in question.recollection.exact
        if outcome.verdict == "promote"
        and scores.get(outcome.policy, 0.0) >= WORTH_TRYING
        and question.policies[outcome.policy].manifest.is_whole(outcome.parameters)
    ]
    return next((each for each in found if each[1] is not None), found[0] if found else None)


def _vouched(question: Question, outcome: Outcome) -> Vouched | None:
    return next(
        (
            each
            for each in question.recollection.vouched
            if (each.policy, each.version, each.parameters)
            == (outcome.policy, outcome.version, outcome.parameters)
        ),
        None,
    )


def _onward(question: Question, winner: Outcome) -> list[Candidate]:
    """One candidate beside a winner: what is told to be better, else an untried neighbour."""
    policy = question.policies[winner.policy]
    direction = question.objective.direction
    known = [o for o in question.recollection.exact if o.policy == winner.policy]
    better = [
        outcome
        for outcome in known
        if outcome.verdict != "revert"
        and outcome.parameters != winner.parameters
        and policy.manifest.is_whole(outcome.parameters)
        and _worse(outcome, direction) < _worse(winner, direction) + math.log(ONWARD_GAIN)
    ]
    if better:
        best = min(better, key=lambda each: _worse(each, direction))
        return [remembered(policy, best, "looked better than the winner")]
    tried = [outcome.parameters for outcome in known]
    whole = {**policy.manifest.defaults, **winner.parameters}
    return [
        candidate(
            policy,
            values,
            why=why,
            ratio=winner.ratio,
            low=winner.low,
            high=winner.high,
            origin="search",
        )
        for values, why in around(policy.manifest, whole)
        if values not in tried
    ][:1]


def _worse(outcome: Outcome, direction: str) -> float:
    return worsening(max(outcome.ratio, 1e-9), direction)
