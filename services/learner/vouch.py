"""Whether a remembered promotion was one: by the learner's own verdicts, not by who tells of it.

An outcome is a planner's word, and so is the memory. What the learner vouches for is read from
what a planner cannot say: the learner's verdicts, a host's rounds, a gate's builds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.learner.memory import candidate
from services.learner.seal import promoted
from shared.messages import Built, Judged, Loadable, Outcome, Round, Vouched, Weighed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.learner.memory import Key, Memory

MOST_CANDIDATES = 3
"""The best that are recalled; a plan starts from the first of them that may be tried."""

MOST_LOOKED_AT = 8
"""Promotions of one candidate that are looked at, the oldest first: one that holds is enough."""

MOST_KNOWN = 4096

Evidence = tuple[list[Judged], list[Weighed], list[Round], list[Built]]
"""What others than a planner have said of an optimization."""


class Vouching:
    """Looks a promotion up once; what held is not looked up again."""

    def __init__(self, memory: Memory, evidence: Callable[[str], Awaitable[Evidence]]) -> None:
        self._memory = memory
        self._evidence = evidence
        self._held: dict[tuple[str, Key], None] = {}

    async def of(self, exact: Sequence[Outcome]) -> list[Vouched]:
        """The best promotions of a recollection that were promotions."""
        told = [each for each in exact if each.verdict == "promote"][:MOST_CANDIDATES]
        return [
            Vouched(
                policy=each.policy,
                version=each.version,
                parameters=each.parameters,
                promotions=len(promotions),
            )
            for each in told
            if (promotions := self._memory.promotions(each.fingerprint, candidate(each)))
            and await self._any(promotions, each)
        ]

    async def _any(self, promotions: Sequence[str], told: Outcome) -> bool:
        for optimization in promotions[:MOST_LOOKED_AT]:
            key = optimization, candidate(told)
            if key not in self._held:
                judged, weighed, rounds, builds = await self._evidence(optimization)
                if not is_of(told, promoted(judged, weighed, rounds), builds):
                    continue
                if len(self._held) >= MOST_KNOWN:
                    self._held.pop(next(iter(self._held)))
                self._held[key] = None
            return True
        return False


def is_of(told: Outcome, tried: Loadable | None, builds: Sequence[Built]) -> bool:
    """Whether what was promoted is the candidate that is told of."""
    return (
        tried is not None
        and tried.parameters == told.parameters
        and any(
            built.policy == told.policy
            and built.artifact is not None
            and built.artifact.sha256 == tried.artifact
            for built in builds
        )
    )
