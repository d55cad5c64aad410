"""Who begins when: optimizations take turns on hosts, and stand still while operators want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.planner.claims import in_turn, owes
from services.planner.machine import Begin, Hold, Refuse, Release, Wait
from shared.errors import BusError, CoxswainError

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.planner.company import Company
    from services.planner.lives import Lives
    from services.planner.turns import Turns
    from shared.fleet import Claims, Orders
    from shared.optimization import Optimization

PAUSED, FROZEN = "paused", "frozen"


class Queue:
    """Gives turns to those that wait."""

    def __init__(self, lives: Lives, turns: Turns, company: Company) -> None:
        self._lives = lives
        self._turns = turns
        self._company = company

    async def tend(self) -> None:
        """What there is to do from time to time, whoever should have done it."""
        await self.obey(await self._turns.orders())
        await self._sweep()
        await self.take_turns()

    async def busy(self) -> dict[str, str]:
        """Which optimization works on a host, or waits for it.

        Whoever has seen one end finds its hosts free, even if its claims stand a moment longer.
        """
        claims = await self._sweep()
        alive = (state for state in self._lives.alive() if not state.over)
        wanted = {host: state.id for state in alive for host in state.hosts}
        return wanted | claims.hosts

    async def take_turns(self, only: Collection[str] = ()) -> None:
        """Begin what may begin, in its order; tell the others what they wait for.

        With `only`, these alone: one that has just come changes nothing for the others. Raises
        GoneError while something is gone from the bus that they could not do without.
        """
        waiting = in_turn(self._lives.alive())
        if not waiting:
            return
        self._lives.check()
        orders = await self._turns.orders()
        claims = await self._turns.claims()
        wanted: dict[str, str] = {}
        for state in waiting:
            if not only or state.id in only:
                why = _forbidden(orders, state)
                fence = 0
                if not why:
                    turn, claims = await self._turns.claim(state, wanted, claims)
                    why, fence = turn.waits, turn.fence
                if not why:
                    await self._begin(state, fence)
                elif why != state.waits:
                    await self._lives.step(state.id, Wait(why))
            for host in state.hosts:
                wanted.setdefault(host, state.id)

    async def _begin(self, state: Optimization, fence: int) -> None:
        """Its turn: who worked here before may have left something, so look once more."""
        try:
            company = await self._company.on(state.canary, state.request)
        except BusError:
            raise
        except CoxswainError as error:
            await self._lives.step(state.id, Refuse(str(error)))
        else:
            await self._lives.step(state.id, Begin(fence, company, self._lives.evidence))

    async def obey(self, orders: Orders) -> None:
        """Let what is under way stand still while the fleet is frozen."""
        for state in self._lives.alive():
            if orders.frozen and FROZEN not in state.holds and state.phase != "queued":
                await self._lives.step(state.id, Hold(FROZEN))
            elif not orders.frozen and FROZEN in state.holds:
                await self._lives.step(state.id, Release(FROZEN))

    async def _sweep(self) -> Claims:
        """Give back claims of what does not need them, whoever should have done it; those left."""
        claims = (await self._turns.claims()).value
        swept = False
        for identity in {*claims.hosts.values(), *claims.canaries}:
            alive = self._lives.get(identity)
            if alive is not None and not owes(claims, alive):
                continue
            swept = True
            state = await self._lives.read(identity)
            if state is None:
                await self._turns.forget(identity)
            else:
                await self._turns.settle(state)
        return (await self._turns.claims()).value if swept else claims


def _forbidden(orders: Orders, state: Optimization) -> str:
    """Why operators do not want it to begin; empty if they do not mind."""
    if orders.frozen:
        return f"the fleet is frozen: {orders.reason}".rstrip(": ")
    drained = [host for host in state.hosts if host in orders.drained]
    return f"{', '.join(drained)} drained" if drained else ""
