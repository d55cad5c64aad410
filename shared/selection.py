"""Which hosts may be chosen: the planner chooses by it, the gate and operators look at it, too."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from shared.fingerprint import hardware

if TYPE_CHECKING:
    from shared.messages import Fingerprint, Hardware, Inventory, SchedulerState, Selector


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


def held_back(state: SchedulerState | None, now_unix_ns: int) -> list[str]:
    """Why its executor loads nothing, by what it told last."""
    if state is None:
        return []
    reasons = [] if state.guarded else ["it has no guard"]
    if state.breaker == "open" and now_unix_ns < state.breaker_until_unix_ns:
        until = time.strftime("%H:%M:%S", time.localtime(state.breaker_until_unix_ns / 1e9))
        reasons.append(f"its breaker is open until {until}: {state.breaker_why}")
    return reasons


def _matches(pattern: str, value: str) -> bool:
    return fnmatchcase(value.lower(), pattern.lower())


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
