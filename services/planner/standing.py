"""What operators say of policies: retire one, or promote it. The last word counts.

A retired policy is in no question that a mind is asked, and neither is what was made of it: so
nobody proposes it, recalls it or makes it anew. A preferred one comes before its equals, and
nothing else. What hosts run already is nobody's business here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, assert_never

import structlog
from msgspec.structs import replace

from shared.errors import InputError, RemoteError, RequestError
from shared.fleet import policy_key, said_of
from shared.messages import PolicyOrder, PolicyOrdered
from shared.plain import is_plain
from shared.repository import PolicyRecord, PolicyRequest
from shared.subjects import NO_OPTIMIZATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.planner.turns import Turns
    from shared.bus import Bus
    from shared.fleet import Orders
    from shared.policies import Catalogue

ASK_S = 5.0

log = structlog.get_logger(__name__)


class Standing:
    """Carries out what operators say of policies."""

    def __init__(self, bus: Bus, turns: Turns, policies: Catalogue) -> None:
        self._bus = bus
        self._turns = turns
        self._policies = policies

    async def serve(self) -> None:
        """Answer on the bus."""
        subject = self._bus.subjects.endpoint("planner", "policy")
        await self._bus.serve(subject, PolicyOrder, self._order, queue="planner")

    async def _order(self, request: PolicyOrder) -> PolicyOrdered:
        check_reason(request.reason)
        await self._check_known(request)
        orders = await self._turns.order(lambda orders: ordered(orders, request))
        told = PolicyOrdered(
            policy=request.policy,
            version=request.version,
            standing=standing(orders, request.policy, request.version),
            reason=request.reason,
            unix_ns=time.time_ns(),
        )
        log.info(
            "policy.ordered",
            standing=told.standing,
            policy=policy_key(request.policy, request.version),
            reason=request.reason,
        )
        # It holds by now, whatever becomes of this: the record is what counts.
        subject = self._bus.subjects.event("planner", "ordered", NO_OPTIMIZATION)
        await self._bus.publish(subject, told, message_id=f"{told.policy}-{told.unix_ns}")
        return told

    async def _check_known(self, request: PolicyOrder) -> None:
        """Raise RequestError for what neither ships here nor, says the learner, was ever built."""
        if request.policy in self._policies:
            ships = self._policies[request.policy].manifest
            if request.version in {"", ships.version}:
                return
        question = PolicyRequest(policy=request.policy, version=request.version)
        subject = self._bus.subjects.endpoint("learner", "policy")
        try:
            await self._bus.ask(subject, question, PolicyRecord, timeout_s=ASK_S)
        except RemoteError as error:
            if error.kind != InputError.__name__:
                raise
            raise RequestError(
                error.what, expected=error.expected, got=error.got, advice=error.advice
            ) from error


def check_reason(reason: str) -> None:
    """Raise RequestError unless it says something, on one line."""
    if not reason.strip() or not is_plain(reason):
        raise RequestError(
            "the order has no reason that others could read",
            expected="a few words on one line",
            got=repr(reason)[:80],
            advice='Say why: --reason "…". Everybody who lists policies reads it.',
        )


def ordered(orders: Orders, request: PolicyOrder) -> Orders:
    """The orders with this one obeyed. Raises RequestError for what holds already."""
    match request.order:
        case "retire":
            return _retire(orders, request)
        case "promote":
            return _promote(orders, request)
        case other:
            assert_never(other)


def standing(
    orders: Orders, policy: str, version: str
) -> Literal["retired", "ordinary", "preferred"]:
    """How a policy stands in this version, or in all of them."""
    if said_of(orders.retired, policy, version):
        return "retired"
    return "preferred" if said_of(orders.preferred, policy, version) else "ordinary"


def _retire(orders: Orders, request: PolicyOrder) -> Orders:
    name = policy_key(request.policy, request.version)
    if why := said_of(orders.retired, request.policy, request.version):
        raise RequestError(
            f"{name} is retired already",
            got=why,
            advice=f"`cox policies promote {name}` takes it back.",
        )
    return replace(
        orders,
        retired={**_beyond(orders.retired, request), name: request.reason},
        preferred=_beyond(orders.preferred, request),
    )


def _promote(orders: Orders, request: PolicyOrder) -> Orders:
    """Takes a retirement back; prefers what is not retired."""
    name = policy_key(request.policy, request.version)
    left = _beyond(orders.retired, request)
    if why := said_of(left, request.policy, request.version):
        raise RequestError(
            f"{request.policy} is retired in all versions",
            got=why,
            advice=f"`cox policies promote {request.policy}` takes that back.",
        )
    if len(left) < len(orders.retired):
        return replace(orders, retired=left)
    if why := said_of(orders.preferred, request.policy, request.version):
        raise RequestError(
            f"{name} is preferred already",
            got=why,
            advice=f"`cox policies retire {name}`, then promote it: it is like any other again.",
        )
    preferred = {**_beyond(orders.preferred, request), name: request.reason}
    return replace(orders, preferred=preferred)


def _beyond(said: Mapping[str, str], request: PolicyOrder) -> dict[str, str]:
    """Without what this order speaks of: all versions, where it names none."""
    name = policy_key(request.policy, request.version)
    return {
        each: why
        for each, why in said.items()
        if each != name and (request.version or each.partition("@")[0] != request.policy)
    }
