"""What a mind is asked."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import field

from shared.messages import (
    Candidate,
    Fingerprint,
    Guardrail,
    Inventory,
    Objective,
    OptimizeRequest,
    Plan,
    Profile,
    Recollection,
)
from shared.policies import Catalogue


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What the trials of one candidate have brought so far, in this optimization."""

    candidate: Candidate
    pairs: int
    ratio: float
    """Candidate / baseline of the objective, over all its pairs; 1 where there is none."""
    low: float
    high: float
    """The interval of the trial with most pairs."""
    harmful: bool = False
    """The judge has sent it back, or it broke: it is not tried again."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known when a plan is made."""

    optimization: str
    request: OptimizeRequest
    profile: Profile
    inventory: Inventory
    fingerprint: Fingerprint
    objective: Objective
    recollection: Recollection
    policies: Catalogue
    guardrails: list[Guardrail] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    """In the order of their first trials, where a mind plans from what its candidates brought."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Policies that the gate did not pass here, each with its first reason."""
    rounds_used: int = 0
    preferred: list[str] = field(default_factory=list)
    """Policies that operators want tried before their equals. It is no evidence of anything."""

    @property
    def rounds(self) -> int:
        """Pairs that are left of the budget."""
        return self.request.budget.rounds - self.rounds_used

    @property
    def begun(self) -> bool:
        """Whether there was a plan before this one."""
        return bool(self.tried or self.rejected)


class Mind(Protocol):
    """Anything that can answer a question with a plan."""

    @property
    def name(self) -> str:
        """Stands in every plan it makes."""
        ...

    async def plan(self, question: Question) -> Plan:
        """What to try, and why. Raises CoxswainError if it cannot."""
        ...
