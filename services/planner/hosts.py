"""What hosts there are: what they are, what holds them back, and who of them is heard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from services.planner.presence import Presence
from shared.selection import held_back
from shared.tasks import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.bus import Bus, Records
    from shared.messages import Inventory, SchedulerState


class Hosts:
    """The fleet as it is now."""

    def __init__(
        self, bus: Bus, inventories: Records[Inventory], schedulers: Records[SchedulerState]
    ) -> None:
        self.presence = Presence(bus)
        self._inventories = inventories
        self._schedulers = schedulers
        self._mirror: dict[str, Inventory] = {}
        """Inventories by their keys, as the bucket last said."""
        self._states: dict[str, SchedulerState] = {}
        """The same of what schedules them."""

    async def follow(self) -> None:
        """Know what hosts there are and how they are, for ever."""
        await together(
            self._inventories.mirror("*.inventory", self._mirror),
            self._schedulers.mirror("*.scheduler", self._states),
        )

    def keeping(self) -> dict[str, str]:
        """Hosts that keep what an optimization has deployed, with its id, by their own word."""
        return {state.host: state.kept for state in self._states.values() if state.kept}

    def held_back(self) -> dict[str, str]:
        """Hosts that would load nothing now, with the reason."""
        now = time.time_ns()
        whys = {state.host: "; ".join(held_back(state, now)) for state in self._states.values()}
        return {host: why for host, why in whys.items() if why}

    async def known(self, wanted: Sequence[str] = ()) -> dict[str, Inventory]:
        """Every host's inventory. They are followed, for reading a thousand takes its time.

        Who asks for a host that is not among them may be quicker than its news: then all are read.
        """
        known = {inventory.host: inventory for inventory in self._mirror.values()}
        if known and known.keys() >= set(wanted):
            return known
        return {r.value.host: r.value for r in await self._inventories.all("*.inventory")}
