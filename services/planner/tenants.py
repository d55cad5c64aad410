"""Who shares a canary with a workload that is tried there, and what a trial owes them. Pure.

Neighbours are the workloads that a request names, and those for which the canary keeps a policy
already: whatever wins replaces that. Their objectives and guardrails are guardrails of the trial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import field

from shared.errors import RequestError
from shared.messages import Guardrail, Neighbour
from shared.optimization import Incumbent

if TYPE_CHECKING:
    from shared.messages import OptimizeRequest
    from shared.optimization import Optimization
    from shared.workloads import Catalogue

MOST_NEIGHBOURS = 3
"""More would make rounds long, and each guardrail's share of the error rate small."""


class Tenancy(msgspec.Struct, frozen=True, kw_only=True):
    """What an optimization's record says of its company; see its fields of the same names."""

    guardrails: list[Guardrail]
    round_s: float
    timeout_s: float
    beside: list[Neighbour] = field(default_factory=list)
    incumbent: Incumbent | None = None
    guarded: bool = False


def check_beside(request: OptimizeRequest) -> None:
    """Raise RequestError for neighbours that are no others, or named twice."""
    together = [request.workload, *request.beside]
    if len(set(together)) < len(together):
        raise RequestError(
            "the neighbours contradict the workload",
            expected="different workloads, none of them the one to optimize",
            got=f"{request.workload} beside {', '.join(request.beside)}",
            advice="Name each workload once.",
        )


def tenancy(
    request: OptimizeRequest, workloads: Catalogue, canary: str, incumbent: Incumbent | None
) -> Tenancy:
    """The company on this canary. Raises RequestError if it is too much, InputError if unknown."""
    beside = [Neighbour(workload=name, why="the request names it") for name in request.beside]
    if incumbent is not None and not request.alone:
        why = f"{canary} keeps {incumbent.policy} for it, by {incumbent.optimization}"
        beside += [
            Neighbour(workload=name, why=why)
            for name in incumbent.workloads
            if name not in request.beside
        ]
    if len(beside) > MOST_NEIGHBOURS:
        raise RequestError(
            "too many neighbours",
            expected=f"at most {MOST_NEIGHBOURS}",
            got="; ".join(f"{each.workload}: {each.why}" for each in beside),
            advice="Name fewer, or ask for `alone` and see what that may cost.",
        )
    main = workloads[request.workload]
    together = [main, *(workloads[each.workload] for each in beside)]
    manifests = [each.manifest for each in together]
    company = {each.workload for each in beside}
    return Tenancy(
        guardrails=[
            *main.guardrails,
            *(guardrail for each in together[1:] for guardrail in each.as_neighbour),
        ],
        # They share the CPUs, and the longest of them is covered by the others.
        round_s=len(together) * max(each.round_s for each in manifests),
        timeout_s=len(together) * max(each.timeout_s for each in manifests)
        + sum(each.setup_timeout_s for each in manifests),
        beside=beside,
        incumbent=incumbent,
        guarded=incumbent is not None and company >= set(incumbent.workloads),
    )


def unguarded(state: Optimization) -> str:
    """What the canary keeps for others although nobody looks after them here; empty if nothing."""
    kept = state.incumbent
    if kept is None or state.guarded:
        return ""
    return (
        f"{state.canary} keeps {kept.policy} for {', '.join(kept.workloads)} "
        f"({kept.optimization}: {kept.gained}); a winner replaces it, and the request is alone"
    )
