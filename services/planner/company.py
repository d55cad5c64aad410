"""Whose company a request has on its canary: asked when it comes, and again when it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.request import check_budget
from services.planner.tenants import tenancy

if TYPE_CHECKING:
    from services.planner.incumbents import Incumbents
    from services.planner.tenants import Tenancy
    from shared.messages import OptimizeRequest
    from shared.workloads import Catalogue


class Company:
    """Looks at a canary for those that a request names, and for whom something is kept there."""

    def __init__(self, incumbents: Incumbents, workloads: Catalogue) -> None:
        self._incumbents = incumbents
        self._workloads = workloads

    async def on(self, canary: str, request: OptimizeRequest) -> Tenancy:
        """Who is there now. Raises CoxswainError if that is too much for the request."""
        kept = await self._incumbents.on_host(canary, request.workload)
        found = tenancy(request, self._workloads, canary, kept)
        check_budget(request, found.round_s)
        return found
