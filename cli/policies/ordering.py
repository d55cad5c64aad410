"""`cox policies retire` and `promote`: an operator's orders, and who runs the policy now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.text import Text

from cli.orders import ASK_S
from cli.output import print_json, show
from cli.session import connected
from shared.errors import InputError
from shared.fleet import policy_key
from shared.messages import PolicyOrder, PolicyOrdered, SchedulerState
from shared.policies import made_prefix

if TYPE_CHECKING:
    from shared.bus import Bus


async def order(
    what: Literal["promote", "retire"], name: str, reason: str, *, as_json: bool
) -> None:
    """Give it to the planner; say what holds now. Raises InputError and RemoteError."""
    policy, at, version = name.partition("@")
    if not policy or (at and not version):
        raise InputError("which policy?", expected="NAME or NAME@VERSION", got=repr(name)[:80])
    asked = PolicyOrder(order=what, policy=policy, version=version, reason=reason)
    async with connected() as bus:
        subject = bus.subjects.endpoint("planner", "policy")
        told = await bus.ask(subject, asked, PolicyOrdered, timeout_s=ASK_S)
        hosts = await _running(bus, policy)
    if as_json:
        print_json({"type": "policy-ordered", "ordered": told, "runs_on": hosts})
        return
    show(Text(_holds(told)))
    if told.standing == "retired" and hosts:
        show(Text(f"what runs keeps running, on {', '.join(hosts)}: `cox revert HOST` ends that"))


def _holds(told: PolicyOrdered) -> str:
    name = policy_key(told.policy, told.version)
    match told.standing:
        case "retired":
            return f"nothing new is tried with {name} until `cox policies promote {name}`"
        case "ordinary":
            return f"{name} may be tried again, like any other; promote it once more to prefer it"
        case "preferred":
            return f"{name} is tried before its equals until `cox policies retire {name}`"


async def _running(bus: Bus, policy: str) -> list[str]:
    """Hosts that run it, or what was made of it; they do not say in which version."""
    records = await (await bus.records("hosts", SchedulerState)).all("*.scheduler")
    states = [record.value for record in records]
    return sorted(
        state.host
        for state in states
        if state.ours and (state.policy == policy or state.policy.startswith(made_prefix(policy)))
    )
