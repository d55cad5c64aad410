"""Which hosts a request is about: named, selected by what they are, or all; in groups of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import field

from shared.errors import RequestError
from shared.messages import Fingerprint, Hardware, Inventory
from shared.selection import describe, kind, why_not_selected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.messages import OptimizeRequest, Selector


MAX_HOSTS = 600
"""Of one kind in one request: a record, which names each of them, must fit into one message."""
MAX_KINDS = 16
"""In one request: its reply, which names every host, must fit into one message, too."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner knows of the hosts at one moment."""

    known: Mapping[str, Inventory]
    busy: Mapping[str, str] = field(default_factory=dict)
    """Which optimization works on a host."""
    silent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Which of a host's services have not been heard."""
    held_back: Mapping[str, str] = field(default_factory=dict)
    """Hosts whose executors load nothing, with the reason."""
    drained: Mapping[str, str] = field(default_factory=dict)
    """Hosts that nothing new may begin on, with the reason."""
    meant: Fingerprint | None = None
    """What the request's selector means by its fingerprint."""


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts of one kind that take part, the canary first."""

    hosts: list[str]
    waits_for: list[str]
    """Optimizations that work on one of the hosts; empty when it may begin at once."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes part, and why others, unnamed, do not."""

    groups: list[Targets]
    """One for each kind, the one with the most hosts first."""
    left_out: dict[str, str]


def choose(request: OptimizeRequest, fleet: Fleet) -> Choice:
    """The target hosts by kind, for a plan holds for one. Raises RequestError.

    With none named, of each kind those that are free take part if any is.
    """
    return _named(request, fleet) if request.hosts else _unnamed(request, fleet)


def _named(request: OptimizeRequest, fleet: Fleet) -> Choice:
    names = list(dict.fromkeys(request.hosts))
    unknown = [name for name in names if name not in fleet.known]
    if unknown:
        raise RequestError(
            "unknown host",
            expected=f"one of {', '.join(sorted(fleet.known)) or '(no host has joined yet)'}",
            got=", ".join(unknown),
            advice="`cox hosts` lists them; `cox lab up` makes some.",
        )
    for name in names:
        _check_named(name, request, fleet)
    groups = by_kind(names, fleet.known)
    if len(groups[0]) > MAX_HOSTS:
        raise RequestError(
            "too many hosts of one kind in one request",
            expected=f"at most {MAX_HOSTS}",
            got=f"{len(groups[0])} of {describe(fleet.known[groups[0][0]])}",
            advice="Ask for some, then for the others: what was learned is recalled.",
        )
    return _choice(groups, {}, fleet)


def _check_named(name: str, request: OptimizeRequest, fleet: Fleet) -> None:
    here = fleet.known[name]
    mismatch = why_not_selected(request.select, here, fleet.meant)
    if mismatch:
        raise RequestError(
            f"host {name} is named but not selected",
            expected="hosts that match, or no selector",
            got=mismatch,
            advice="Leave out the name or the selector.",
        )
    if here.obstacles:
        raise RequestError(
            f"host {name} cannot be steered",
            expected="a kernel with usable sched_ext and nobody else's scheduler",
            got="; ".join(here.obstacles),
            advice="Mend that, or leave the host out.",
        )
    if fleet.silent.get(name):
        raise RequestError(
            f"host {name} is silent",
            expected="heartbeats of its observer and its executor",
            got=f"none from its {' and '.join(fleet.silent[name])}",
            advice="Look at the host: `cox lab shell`, `journalctl -u cox-executor`.",
        )
    if name in fleet.held_back:
        raise RequestError(
            f"host {name} loads nothing now",
            expected="a host with a guard and a closed breaker",
            got=fleet.held_back[name],
            advice=f"`cox-host status` there says more; `cox hosts reset {name}` closes a breaker.",
        )
    if name in fleet.drained:
        raise RequestError(
            f"host {name} is drained",
            expected="a host that work may begin on",
            got=fleet.drained[name] or "no reason was given",
            advice=f"`cox hosts undrain {name}` gives it back, or leave the host out.",
        )


def _unnamed(request: OptimizeRequest, fleet: Fleet) -> Choice:
    left_out = {
        name: why
        for name, inventory in sorted(fleet.known.items())
        if (why := _why_not(name, inventory, request.select, fleet))
    }
    ready = [name for name in sorted(fleet.known) if name not in left_out]
    if not ready:
        raise RequestError(
            "no host is ready",
            expected="a host with sched_ext, an observer and an executor"
            + (", that is selected" if request.select != type(request.select)() else ""),
            got="; ".join(f"{name}: {why}" for name, why in left_out.items())
            or "no host has joined",
            advice="`cox lab up` makes hosts; `cox hosts` lists what is there.",
        )
    groups = []
    for group in by_kind(ready, fleet.known):
        free = [name for name in group if name not in fleet.busy]
        if free:
            left_out |= {n: f"busy with {fleet.busy[n]}" for n in group if n in fleet.busy}
        chosen = free or group
        for name in chosen[MAX_HOSTS:]:
            left_out[name] = f"one request takes {MAX_HOSTS} hosts of a kind at the most"
        groups.append(chosen[:MAX_HOSTS])
    return _choice(groups, left_out, fleet)


def _why_not(name: str, inventory: Inventory, select: Selector, fleet: Fleet) -> str:
    """Why an unnamed host does not take part, whoever is free; empty if it may."""
    if mismatch := why_not_selected(select, inventory, fleet.meant):
        return mismatch
    if inventory.obstacles:
        return "; ".join(inventory.obstacles)
    if fleet.silent.get(name):
        return f"{' and '.join(fleet.silent[name])} silent"
    if name in fleet.held_back:
        return fleet.held_back[name]
    if name in fleet.drained:
        return f"drained: {fleet.drained[name]}".rstrip(": ")
    return ""


def _choice(groups: list[list[str]], left_out: Mapping[str, str], fleet: Fleet) -> Choice:
    if len(groups) > MAX_KINDS:
        kinds = [f"{len(group)} of {describe(fleet.known[group[0]])}" for group in groups]
        raise RequestError(
            "too many kinds of hosts in one request",
            expected=f"at most {MAX_KINDS} kinds of hardware and kernel: each is an optimization",
            got=f"{len(groups)}: {'; '.join(kinds)}",
            advice="Ask for some, then for the others: name hosts, or select them by label, "
            "kernel, CPU model or fingerprint.",
        )
    return Choice(
        groups=[
            Targets(
                hosts=group,
                waits_for=sorted({fleet.busy[name] for name in group if name in fleet.busy}),
            )
            for group in sorted(groups, key=len, reverse=True)
        ],
        left_out=dict(sorted(left_out.items())),
    )


def check_free(hosts: Iterable[str], fleet: Fleet) -> None:
    """Raise RequestError if somebody works on one of the hosts: for requests that do not wait."""
    for name in hosts:
        if name in fleet.busy:
            raise RequestError(
                f"host {name} is busy",
                expected="one optimization on a host at a time",
                got=f"optimization {fleet.busy[name]} is at work there",
                advice=f"Wait for it, or `cox cancel {fleet.busy[name]}`.",
            )


# --- What hosts are ----------------------------------------------------------------------------


def by_kind(names: Iterable[str], known: Mapping[str, Inventory]) -> list[list[str]]:
    """Hosts in groups of one kind, the largest first, else in the order given."""
    groups: dict[tuple[Hardware, str], list[str]] = {}
    for name in names:
        groups.setdefault(kind(known[name]), []).append(name)
    return sorted(groups.values(), key=len, reverse=True)
