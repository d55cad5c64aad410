"""`cox hosts` and `cox revert`: what runs where, and back to the default."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import field
from rich.text import Text

from cli.fleet.joining import SERVICES
from cli.fleet.roster import Roster
from cli.output import console, plain_table, print_json, show
from cli.session import connected
from shared.errors import BusError, InputError
from shared.fleet import ORDERS, Orders
from shared.messages import Inventory, ResetRequest, RevertRequest, SchedulerState
from shared.selection import held_back
from shared.service import CALL_S, call_roll
from shared.subjects import host_token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from shared.bus import Bus

LISTEN_S = CALL_S * 1.5
"""Long enough to hear everybody who answers a roll call."""
REVERT_S = 20.0


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host as the bus knows it."""

    host: str
    inventory: Inventory | None
    scheduler: SchedulerState | None
    silent: list[str] = field(default_factory=list)
    """Services that were not heard while we listened."""
    drained: str | None = None
    """Why nothing new may begin there, empty for no reason; None where it may."""

    @property
    def obstacles(self) -> list[str]:
        """Why it cannot be steered now; empty when it can."""
        known = list(self.inventory.obstacles) if self.inventory else ["it has no inventory"]
        known += held_back(self.scheduler, time.time_ns())
        return known + [f"its {service} is silent" for service in self.silent]

    @property
    def hindrances(self) -> list[str]:
        """Why nothing new begins there now: operators' orders, and obstacles."""
        if self.drained is None:
            return self.obstacles
        return [f"drained: {self.drained}".rstrip(": "), *self.obstacles]


async def list_hosts(*, as_json: bool) -> None:
    """Show every host that the bus knows."""
    async with connected() as bus:
        hosts = await known_hosts(bus)
    if as_json:
        print_json({"type": "hosts", "hosts": hosts})
    elif not hosts:
        console().print("No host has joined. Boot two lab hosts:  cox lab up 2")
    else:
        show(hosts_table(hosts))


async def known_hosts(bus: Bus) -> list[Host]:
    """Hosts in the `hosts` bucket, and who of them is heard."""
    roster = Roster()
    await roster.listen(bus)
    await call_roll(bus)
    await asyncio.sleep(LISTEN_S)
    return await hosts_now(bus, roster)


async def hosts_now(bus: Bus, roster: Roster) -> list[Host]:
    """The same by a roster that has been listening."""
    inventories = await bus.records("hosts", Inventory)
    schedulers = await bus.records("hosts", SchedulerState)
    inventory = {r.value.host: r.value for r in await inventories.all("*.inventory")}
    scheduler = {r.value.host: r.value for r in await schedulers.all("*.scheduler")}
    orders = await (await bus.records("fleet", Orders)).get(ORDERS)
    drained = orders.value.drained if orders is not None else {}
    return [
        Host(
            host=name,
            inventory=inventory.get(name),
            scheduler=scheduler.get(name),
            silent=[service for service in SERVICES if not roster.alive(service, name)],
            drained=drained.get(name),
        )
        for name in sorted(inventory.keys() | scheduler.keys() | roster.hosts())
    ]


def hosts_table(hosts: Iterable[Host]) -> Table:
    """One row each; with labels where anybody has some."""
    hosts = list(hosts)
    labelled = any(host.inventory and host.inventory.labels for host in hosts)
    table = plain_table()
    columns = ("host", "state", "runs", "cpus", "memory", "kernel", "on")
    for column in (*columns, "labels") if labelled else columns:
        table.add_column(column, overflow="fold")
    for host in hosts:
        here = host.inventory
        table.add_row(
            host.host,
            Text("ready", style="green")
            if not host.hindrances
            else Text("; ".join(host.hindrances), style="yellow"),
            runs(host.scheduler),
            str(here.cpus) if here else "?",
            f"{here.memory_bytes / 2**30:.1f} GiB" if here else "?",
            here.kernel if here else "?",
            here.virtualization if here else "?",
            *([_labels(here)] if labelled else []),
        )
    return table


def _labels(here: Inventory | None) -> Text:
    """As COX_LABELS has them."""
    labels = here.labels if here else {}
    return Text(" ".join(f"{name}={value}" for name, value in sorted(labels.items())))


def runs(state: SchedulerState | None) -> Text:
    """What schedules a host, in words."""
    if state is None:
        return Text("?")
    if not state.ops:
        return Text("the kernel's default", style="dim")
    if not state.ours:
        return Text(f"{state.ops}, which is not ours", style="yellow")
    tuned = " ".join(f"{name}={value}" for name, value in state.parameters.items())
    purpose = " (in a trial)" if state.purpose == "trial" else ""
    return Text(f"{state.policy} {tuned}".rstrip() + purpose, style="green")


async def revert(names: list[str], *, everywhere: bool, as_json: bool) -> int:
    """Put hosts back on the kernel's default, now; 1 if one of them did not answer."""
    if bool(names) == everywhere:
        raise InputError(
            "which hosts?",
            expected="names of hosts, or --all",
            got="both" if names else "neither",
            advice="`cox hosts` lists them.",
        )
    async with connected() as bus:
        if everywhere:
            schedulers = await bus.records("hosts", SchedulerState)
            names = [record.value.host for record in await schedulers.all("*.scheduler")]
        answers = await asyncio.gather(*(revert_host(bus, name) for name in names))
    if as_json:
        print_json({"type": "reverted", "hosts": dict(zip(names, answers, strict=True))})
    else:
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, SchedulerState):
                show(Text.assemble(f"{name} ", ("runs the kernel's default", "green")))
            else:
                show(Text.assemble(f"{name} ", (answer["problem"], "red")))
        if not names:
            console().print("No host has joined.")
    return 0 if all(isinstance(answer, SchedulerState) for answer in answers) else 1


async def reset(name: str, *, as_json: bool) -> None:
    """Close a host's breaker and end its quarantine."""
    async with connected() as bus:
        state = await bus.ask(
            bus.subjects.endpoint("executor", "reset", host_token(name)),
            ResetRequest(),
            SchedulerState,
            timeout_s=REVERT_S,
        )
    if as_json:
        print_json({"type": "reset", "host": name, "state": state})
    else:
        show(Text(f"{name} may load policies again: its breaker is {state.breaker}"))


async def revert_host(bus: Bus, host: str) -> SchedulerState | dict[str, str]:
    """A host's state once it is back on the kernel's default, or the problem."""
    try:
        return await bus.ask(
            bus.subjects.endpoint("executor", "revert", host),
            RevertRequest(reason="cox revert"),
            SchedulerState,
            timeout_s=REVERT_S,
        )
    except BusError as error:
        return {"problem": str(error)}
