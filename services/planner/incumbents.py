"""What hosts keep of earlier optimizations, and for whom: read from the hosts' own records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import RequestError
from shared.messages import SchedulerState
from shared.optimization import Incumbent

if TYPE_CHECKING:
    from shared.bus import Bus, Records
    from shared.optimization import Optimization


class Incumbents:
    """Asks what would be replaced."""

    def __init__(
        self, schedulers: Records[SchedulerState], optimizations: Records[Optimization]
    ) -> None:
        self._schedulers = schedulers
        self._optimizations = optimizations

    @classmethod
    async def on(cls, bus: Bus, optimizations: Records[Optimization]) -> Incumbents:
        """With the records of this bus."""
        return cls(await bus.records("hosts", SchedulerState), optimizations)

    async def on_host(self, host: str, workload: str) -> Incumbent | None:
        """What a host keeps for other workloads than this one, read now.

        Raises RequestError for what no record tells of: then nobody knows whom it is for.
        """
        found = await self._schedulers.get(f"{host}.scheduler")
        kept = found.value.kept if found is not None else ""
        if not kept:
            return None
        record = await self._optimizations.get(kept)
        if record is None:
            raise RequestError(
                f"{host} keeps a policy, and nobody knows for whom",
                expected=f"a record of {kept}, which has deployed it",
                got="none",
                advice=f"Give the host back with `cox revert {host}`, then ask again.",
            )
        return incumbent(record.value, workload)


def incumbent(of: Optimization, workload: str) -> Incumbent | None:
    """What a promoted optimization stands for besides this workload; None if for nobody.

    One that was not promoted is on its way back, whatever its host still says.
    """
    others = [of.request.workload, *(each.workload for each in of.beside)]
    others = [name for name in others if name != workload]
    if of.terminal != "promoted" or of.winner is None or not others:
        return None
    judged = of.winner.decision or of.winner.judged
    assert judged is not None
    before = of.against.policy if of.against is not None else "the kernel's default"
    return Incumbent(
        optimization=of.id,
        workloads=others,
        candidate=of.winner.candidate,
        gained=f"{of.request.workload}'s {of.objective.metric} at {judged.ratio:.3f} times "
        f"that under {before}",
    )
