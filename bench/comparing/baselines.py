"""What needs no intelligence: every policy as it ships, and candidates drawn by lot.

A gain that these find is not a mind's own. Each makes one plan out of the manifests alone; neither
looks at the profile.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

from services.planner.machine.trying import MIN_PAIRS
from services.planner.minds import Question
from services.planner.minds.candidates import candidate
from services.planner.minds.pairs import CONFIRM_PAIRS
from services.planner.minds.walls import MOST_CANDIDATES
from shared.messages import Candidate, Plan
from shared.parameters import Parameter
from shared.policies import Policy, why_not_allowed

MOST_SCREENED: Final = 3
"""Pairs for each candidate, where the budget has them."""
DRAWN_SCREENED: Final = 2
"""Pairs for each that was drawn: more candidates are worth more than more pairs."""


class SweepMind:
    """Every policy with its default parameters; the best of them is confirmed."""

    name = "sweep"

    async def plan(self, question: Question) -> Plan:
        """As many as the budget can tell apart, by their names."""
        allowed = _allowed(question)
        room = min(MOST_CANDIDATES, question.request.budget.rounds - MIN_PAIRS)
        taken = allowed[: max(1, room)]
        left_out = ", ".join(each.name for each in allowed[len(taken) :])
        why = f"all {len(allowed)} policies as they ship"
        if left_out:
            why += f", but for {left_out}: there are not enough rounds"
        return _plan(question, self.name, [_tried(each, {}, why) for each in taken], why)


class RandomMind:
    """Policies and parameters by lot, each policy as likely as any other."""

    name = "random"

    async def plan(self, question: Question) -> Plan:
        """The same for the same workload, whoever asks."""
        allowed = _allowed(question)
        chance = random.Random(f"{question.request.workload}/{question.request.seed}")  # noqa: S311
        spare = question.request.budget.rounds - MIN_PAIRS
        count = max(1, min(MOST_CANDIDATES, spare // DRAWN_SCREENED))
        drawn: list[Candidate] = []
        for _ in range(count):
            policy = chance.choice(allowed)
            values = {each.name: _drawn(each, chance) for each in policy.manifest.parameter}
            each = _tried(policy, values, "drawn by lot")
            if (each.policy, each.parameters) not in [(d.policy, d.parameters) for d in drawn]:
                drawn.append(each)
        return _plan(question, self.name, drawn, f"{len(drawn)} candidates drawn by lot")


def _allowed(question: Question) -> list[Policy]:
    return [
        policy
        for _, policy in sorted(question.policies.items())
        if policy.made is None and not why_not_allowed(policy, question.request)
    ]


def _drawn(parameter: Parameter, chance: random.Random) -> int:
    if parameter.scale != "log":
        return chance.randint(parameter.low, parameter.high)
    low, high = math.log(parameter.low), math.log(parameter.high)
    value = round(math.exp(chance.uniform(low, high)))
    return min(max(value, parameter.low), parameter.high)


def _tried(policy: Policy, values: dict[str, int], why: str) -> Candidate:
    """Nothing is expected of it: neither knows anything."""
    return candidate(policy, values, why=why, ratio=1.0, low=0.5, high=2.0, origin="search")


def _plan(question: Question, mind: str, candidates: Sequence[Candidate], why: str) -> Plan:
    rounds = question.request.budget.rounds
    screen = 0
    if len(candidates) > 1:
        screen = max(1, min(MOST_SCREENED, (rounds - MIN_PAIRS) // len(candidates)))
    return Plan(
        optimization=question.optimization,
        mind=mind,
        kind="reconfigure",
        considered=[],
        candidates=list(candidates),
        why=why,
        screen_pairs=screen,
        confirm_pairs=min(rounds - screen * len(candidates), CONFIRM_PAIRS),
    )
