"""Whose turn it is: one optimization on a host, so many canaries in the fleet. Pure.

Priority decides, then age. Who waits keeps its place: nobody behind it takes a host that it waits
for, so that a request for many hosts is not starved by requests for few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.fleet import Claims

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.optimization import Optimization


def in_turn(states: Iterable[Optimization]) -> list[Optimization]:
    """Those that wait and may begin, in the order in which they may."""
    waiting = [state for state in states if state.phase == "queued" and not state.holds]
    return sorted(
        waiting, key=lambda state: (-state.request.priority, state.created_unix_ns, state.id)
    )


def why_wait(
    claims: Claims, state: Optimization, wanted: Mapping[str, str], most_canaries: int
) -> str:
    """What this one waits for, in words; empty if it may begin now.

    `wanted` says by host who waits for it and comes before this one.
    """
    if holds(claims, state):
        return ""
    for host in state.hosts:
        owner = claims.hosts.get(host, state.id)
        if owner != state.id:
            return f"{owner} works on {host}"
        if host in wanted:
            return f"{wanted[host]} is before it for {host}"
    if state.id not in claims.canaries and len(claims.canaries) >= most_canaries:
        return f"{len(claims.canaries)} canaries are live, no more than {most_canaries} may be"
    return ""


def holds(claims: Claims, state: Optimization) -> bool:
    """Whether it has all that it needs already."""
    return all(claims.hosts.get(host) == state.id for host in state.hosts)


def take(claims: Claims, state: Optimization) -> Claims:
    """The claims with its hosts and its canary."""
    if holds(claims, state):
        return claims
    return replace(
        claims,
        hosts={**claims.hosts, **dict.fromkeys(state.hosts, state.id)},
        canaries=[*(each for each in claims.canaries if each != state.id), state.id],
    )


def claims_of(states: Iterable[Optimization]) -> Claims:
    """What the records say where the claims themselves are lost: all of it that has begun."""
    begun = [state for state in states if not state.over and state.phase != "queued"]
    return Claims(
        hosts={host: state.id for state in begun for host in state.hosts},
        canaries=[state.id for state in begun if tries(state)],
    )


def give_back(claims: Claims, optimization: str, *, over: bool) -> Claims:
    """Without its canary, which is none any more; and without its hosts once it is over."""
    return Claims(
        hosts={
            host: owner for host, owner in claims.hosts.items() if not over or owner != optimization
        },
        canaries=[each for each in claims.canaries if each != optimization],
    )


def owes(claims: Claims, state: Optimization) -> bool:
    """Whether it has something that it does not need any more."""
    if state.over:
        return state.id in claims.canaries or state.id in claims.hosts.values()
    return state.id in claims.canaries and not tries(state)


def tries(state: Optimization) -> bool:
    """Whether it still needs its canary: before the rollout, in which a winner is no trial."""
    return state.phase in {"queued", "profiling", "planning", "building", "trying"}
