"""What minds are measured by: every policy as it ships, candidates drawn by lot, a bandit.

A gain that these find is not a mind's own. Each makes one plan out of the manifests; of the
profile the bandit knows the class, and the others nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

import msgspec

from services.planner.machine.trying import MIN_PAIRS
from services.planner.minds import Question
from services.planner.minds.candidates import candidate
from services.planner.minds.pairs import CONFIRM_PAIRS, room_for
from services.planner.minds.search import neighbours
from services.planner.minds.walls import MOST_CANDIDATES
from shared.messages import Candidate, Plan
from shared.parameters import Parameter
from shared.policies import Policy, why_not_allowed

MOST_SCREENED: Final = 3
"""Pairs for each candidate, where the budget has them."""
DRAWN_SCREENED: Final = 2
"""Pairs for each that was drawn: more candidates are worth more than more pairs."""


PRIOR_SPREAD: Final = 0.3
"""Of ln(gain), for an arm that nobody has tried."""
PAIR_SPREAD: Final = 0.25
ELSEWHERE: Final = 3.0
"""How much less sure a pair makes that was run under another class."""


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


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial of an arm has shown, under a class of workload."""

    workload_class: str
    policy: str
    parameters: dict[str, int]
    gain: float
    """ln of how many times better."""
    pairs: int


class BanditMind:
    """A contextual bandit: Thompson sampling over policies and one step around each.

    The context is the workload's class. It begins knowing nothing, and learns from trials that it
    had itself with the workloads before this one; trials under other classes count for less. Of
    each arm's gain it believes a normal distribution, draws from all, and tries what drew best.
    """

    name = "bandit"

    def __init__(self, seen: Sequence[Seen] = ()) -> None:
        self._seen = seen

    async def plan(self, question: Question) -> Plan:
        """The arms that drew best, the best of them confirmed."""
        rounds = question.request.budget.rounds
        chance = random.Random(f"bandit/{question.request.workload}")  # noqa: S311
        arms = [
            (policy, values)
            for policy in _allowed(question)
            for values in (
                policy.manifest.defaults,
                *(values for values, _ in neighbours(policy.manifest)),
            )
        ]
        drawn = []
        for policy, values in arms:
            middle, spread = self._belief(policy.name, values, question.profile.workload_class)
            drawn.append((chance.gauss(middle, spread), middle, spread, policy, values))
        drawn.sort(key=lambda each: -each[0])
        sign = -1 if question.objective.direction == "lower" else 1
        candidates = []
        for _, middle, spread, policy, values in drawn[: room_for(rounds)]:
            why = f"of {len(arms)} arms it drew best: gain {middle:+.2f}, give or take {spread:.2f}"
            ends = sorted(math.exp(sign * (middle + side * spread)) for side in (-1, 0, 1))
            candidates.append(
                candidate(
                    policy,
                    values,
                    why=why,
                    ratio=ends[1],
                    low=ends[0],
                    high=ends[2],
                    origin="search",
                )
            )
        return _plan(question, self.name, candidates, f"Thompson sampling over {len(arms)} arms")

    def _belief(self, policy: str, values: dict[str, int], context: str) -> tuple[float, float]:
        """Mean and spread of an arm's gain, after all that was seen of it."""
        precision, weighted = 1 / PRIOR_SPREAD**2, 0.0
        for each in self._seen:
            if (each.policy, each.parameters) != (policy, values):
                continue
            spread = PAIR_SPREAD * (1.0 if each.workload_class == context else ELSEWHERE)
            precision += each.pairs / spread**2
            weighted += each.gain * each.pairs / spread**2
        return weighted / precision, 1 / math.sqrt(precision)
