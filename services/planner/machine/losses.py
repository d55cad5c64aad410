"""What others lose by an optimization, in words: nothing is replaced silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.messages import Replaced
from shared.workloads import neighbours_metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.optimization import Incumbent, Optimization


def by_promotion(state: Optimization) -> Iterator[str]:
    """What the winner has replaced, and what is known of those that it was for."""
    for replaced, hosts in _replaced(state):
        kept = state.incumbent
        if kept is None or kept.optimization != replaced.optimization:
            known = "that was not on the canary, so nobody measured what becomes of them"
        elif state.guarded:
            known = _measured(state, kept)
        else:
            known = "nobody measured what becomes of them, for the request is alone"
        had = f" ({kept.gained})" if kept and kept.optimization == replaced.optimization else ""
        yield f"{_what(replaced, hosts)}{had}: {known}"


def by_going_back(state: Optimization) -> Iterator[str]:
    """What is gone from hosts that had the winner and go back to the kernel's default."""
    for replaced, hosts in _replaced(state):
        yield f"{_what(replaced, hosts)}: they are on the kernel's default now, that is gone"


def _replaced(state: Optimization) -> list[tuple[Replaced, list[str]]]:
    """What was kept for others, with the hosts that kept it."""
    by_optimization: dict[str, tuple[Replaced, list[str]]] = {}
    kept = state.incumbent
    for host, deployed in state.deployments.items():
        if deployed.problem is not None:
            continue  # what it kept is kept still
        replaced = deployed.replaced
        if host == state.canary and kept is not None:
            # Known before: a host that answers twice has forgotten it.
            replaced = Replaced(optimization=kept.optimization, workloads=kept.workloads)
        if replaced is None or set(replaced.workloads) == {state.request.workload}:
            continue
        by_optimization.setdefault(replaced.optimization, (replaced, []))[1].append(host)
    return list(by_optimization.values())


def _what(replaced: Replaced, hosts: Sequence[str]) -> str:
    whom = ", ".join(replaced.workloads) or "an unknown workload"
    return f"on {', '.join(hosts)} it replaced what {replaced.optimization} had deployed for {whom}"


def _measured(state: Optimization, kept: Incumbent) -> str:
    """How the workloads of what was replaced do now, against what they did with it."""
    assert state.winner is not None
    word = state.winner.decision or state.winner.judged
    return "; ".join(
        f"{finding.metric} is {finding.ratio:.3f} times what it was"
        for finding in (word.guardrails if word is not None else [])
        if any(finding.metric.startswith(neighbours_metric(name, "")) for name in kept.workloads)
    )
