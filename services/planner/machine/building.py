"""Having policies built: those that a plan begins with, and those it falls back on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.machine.writing import command, enter
from shared.messages import BuildCommand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import Candidate
    from shared.optimization import Optimization

BUILD_S = 360.0
"""A gate with a sandbox besieges each policy for half a minute; emulated and busy, for two."""


def missing(state: Optimization, candidates: Iterable[Candidate]) -> bool:
    """Whether the gate has not answered yet for one of these."""
    return any(each.policy not in state.builds for each in candidates)


def build(
    state: Optimization, candidates: Iterable[Candidate], now_unix_ns: int, text: str
) -> Optimization:
    """Have the gate make what it was not asked for yet, and wait for it."""
    wanted = {each.policy: each.made for each in candidates if each.policy not in state.builds}
    for policy in sorted(wanted):
        state = command(
            state,
            "executor",
            "build",
            None,
            BuildCommand(
                optimization=state.id,
                policy=policy,
                made=wanted[policy],
                expires_unix_ns=state.expires_unix_ns,
            ),
        )
    return enter(state, "building", BUILD_S, now_unix_ns, text)


def runs(state: Optimization, candidate: Candidate) -> bool:
    """Whether it is what the trials compare with: that needs no round to tell."""
    kept = state.against.candidate if state.against is not None else None
    return kept is not None and (kept.policy, kept.version, kept.parameters) == (
        candidate.policy,
        candidate.version,
        candidate.parameters,
    )
