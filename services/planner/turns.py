"""Claims and orders on the bus: two records that every planner changes by compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from services.planner.claims import give_back, owes, take, tries, why_wait
from shared.errors import ConflictError
from shared.fleet import CLAIMS, ORDERS, Claims, Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.bus import Bus, Record, Records
    from shared.optimization import Optimization


_T = TypeVar("_T", bound=msgspec.Struct)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A fencing token, or what has to be waited for."""

    fence: int = 0
    waits: str = ""


class Turns:
    """Who may work where, and what operators have said."""

    def __init__(
        self, claims: Records[Claims], orders: Records[Orders], most_canaries: int
    ) -> None:
        self._claims = claims
        self._orders = orders
        self._most_canaries = most_canaries

    @classmethod
    async def on(cls, bus: Bus, most_canaries: int) -> Turns:
        """With the records of this bus."""
        return cls(
            await bus.records("fleet", Claims), await bus.records("fleet", Orders), most_canaries
        )

    # Claims -------------------------------------------------------------------------------

    async def claims(self) -> Record[Claims]:
        """Who works where now."""
        return await _existing(self._claims, CLAIMS, Claims())

    async def claim(
        self, state: Optimization, wanted: Mapping[str, str], record: Record[Claims]
    ) -> tuple[Turn, Record[Claims]]:
        """Its hosts and its canary, all of them or none; again does nothing.

        `record` is what was read of the claims, and comes back as it is then. `wanted`: see
        `why_wait`.
        """
        while True:
            waits = why_wait(record.value, state, wanted, self._most_canaries)
            if waits:
                return Turn(waits=waits), record
            try:
                # Written even if nothing changes: every begin has a token of its own.
                record = await self._claims.replace(record, take(record.value, state))
            except ConflictError:
                record = await self.claims()
            else:
                return Turn(fence=record.revision), record

    async def settle(self, state: Optimization) -> None:
        """Give back what it does not need any more."""
        if tries(state):
            return
        while True:
            record = await self.claims()
            if not owes(record.value, state):
                return
            after = give_back(record.value, state.id, over=state.over)
            try:
                await self._claims.replace(record, after)
            except ConflictError:
                continue
            return

    async def forget(self, optimization: str) -> None:
        """Give back everything of one that does not exist."""
        record = await self.claims()
        await self._claims.replace(record, give_back(record.value, optimization, over=True))

    # Orders -------------------------------------------------------------------------------

    async def orders(self) -> Orders:
        """What operators have said last."""
        return (await _existing(self._orders, ORDERS, Orders())).value

    async def order(self, change: Callable[[Orders], Orders]) -> Orders:
        """Change the orders, whoever else is at it."""
        while True:
            record = await _existing(self._orders, ORDERS, Orders())
            after = change(record.value)
            try:
                await self._orders.replace(record, after)
            except ConflictError:
                continue
            return after


async def _existing(records: Records[_T], key: str, empty: _T) -> Record[_T]:
    while True:
        record = await records.get(key)
        if record is not None:
            return record
        try:
            await records.create(key, empty)
        except ConflictError:
            continue
