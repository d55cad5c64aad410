"""What a mind is asked."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import field

from shared.messages import (
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


class Mind(Protocol):
    """Anything that can answer a question with a plan."""

    @property
    def name(self) -> str:
        """Stands in every plan it makes."""
        ...

    async def plan(self, question: Question) -> Plan:
        """What to try, and why. Raises CoxswainError if it cannot."""
        ...
