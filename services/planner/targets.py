"""Which hosts a request is about: named, selected by what they are, or all; in groups of a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec
from msgspec import field

from shared.errors import RequestError
from shared.fingerprint import hardware
from shared.messages import Fingerprint, Hardware, Inventory

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


def why_not_selected(
    select: Selector, inventory: Inventory, meant: Fingerprint | None = None
) -> str:
    """What keeps a host out of a selection, in words; empty if it is in.

    `meant` is what the selector's key stands for.
    """
    for label, pattern in select.labels.items():
        if label not in inventory.labels:
            return f"it has no label {label}"
        if not _matches(pattern, inventory.labels[label]):
            return f"its label {label} is {inventory.labels[label]!r}, not {pattern!r}"
    for what, pattern, value in (
        ("kernel", select.kernel, inventory.kernel),
        ("architecture", select.arch, inventory.arch),
        ("CPU model", select.cpu_model, inventory.cpu_model),
        ("virtualization", select.virtualization, inventory.virtualization),
    ):
        if pattern and not _matches(pattern, value):
            return f"its {what} is {value!r}, not {pattern!r}"
    if meant is not None and kind(inventory) != (meant.hardware, meant.kernel):
        return f"it is {describe(inventory)}: not of fingerprint {select.fingerprint}"
    return ""


def _matches(pattern: str, value: str) -> bool:
    return fnmatchcase(value.lower(), pattern.lower())


def by_kind(names: Iterable[str], known: Mapping[str, Inventory]) -> list[list[str]]:
    """Hosts in groups of one kind, the largest first, else in the order given."""
    groups: dict[tuple[Hardware, str], list[str]] = {}
    for name in names:
        groups.setdefault(kind(known[name]), []).append(name)
    return sorted(groups.values(), key=len, reverse=True)


def kind(inventory: Inventory) -> tuple[Hardware, str]:
    """What two hosts must have in common for one plan to serve both: as in a fingerprint."""
    return hardware(inventory), inventory.kernel


def describe(inventory: Inventory) -> str:
    """A kind in words: every part that may tell two of them apart."""
    return (
        f"{inventory.kernel} {inventory.arch}, {inventory.cpus} CPUs "
        f"({inventory.threads_per_core} per core, {inventory.llcs} caches, "
        f"{inventory.numa_nodes} nodes), {inventory.cpu_model or 'unnamed'}, "
        f"{inventory.virtualization or 'unknown'}"
    )
