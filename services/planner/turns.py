"""Claims and orders on the bus: two records that every planner changes by compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from services.planner.claims import claims_of, give_back, owes, take, tries, why_wait
from shared.errors import ConflictError
from shared.fleet import CLAIMS, ORDERS, Claims, Orders
from shared.optimization import Optimization

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from shared.bus import Bus, Record, Records


_T = TypeVar("_T", bound=msgspec.Struct)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A fencing token, or what has to be waited for."""

    fence: int = 0
    waits: str = ""


class Turns:
    """Who may work where, and what operators have said."""

    def __init__(
        self,
        claims: Records[Claims],
        orders: Records[Orders],
        optimizations: Records[Optimization],
        most_canaries: int,
    ) -> None:
        self._claims = claims
        self._orders = orders
        self._optimizations = optimizations
        self._most_canaries = most_canaries
        self._ordered: Orders | None = None
        """What operators had said when it was last read."""

    @classmethod
    async def on(cls, bus: Bus, most_canaries: int) -> Turns:
        """With the records of this bus."""
        return cls(
            await bus.records("fleet", Claims),
            await bus.records("fleet", Orders),
            await bus.records("optimizations", Optimization),
            most_canaries,
        )

    # Claims -------------------------------------------------------------------------------

    async def claims(self) -> Record[Claims]:
        """Who works where now. A record that was lost is written again: nobody loses his turn."""
        return await _existing(self._claims, CLAIMS, self._claims_again)

    async def _claims_again(self) -> Claims:
        return claims_of([record.value for record in await self._optimizations.all()])

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
        return (await self._orders_now()).value

    async def _orders_now(self) -> Record[Orders]:
        record = await _existing(self._orders, ORDERS, self._orders_again)
        self._ordered = record.value
        return record

    async def _orders_again(self) -> Orders:
        """What they were; and where nobody knows that any more, nothing begins unasked."""
        if self._ordered is not None:
            return self._ordered
        if not await self._optimizations.all():
            return Orders()  # a new fleet
        return Orders(frozen=True, reason="what operators had ordered was lost from the bus")

    async def order(self, change: Callable[[Orders], Orders]) -> Orders:
        """Change the orders, whoever else is at it."""
        while True:
            record = await self._orders_now()
            after = change(record.value)
            try:
                await self._orders.replace(record, after)
            except ConflictError:
                continue
            self._ordered = after
            return after


async def _existing(
    records: Records[_T], key: str, first: Callable[[], Awaitable[_T]]
) -> Record[_T]:
    while True:
        record = await records.get(key)
        if record is not None:
            return record
        try:
            await records.create(key, await first())
        except ConflictError:
            continue
