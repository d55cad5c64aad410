"""What a siege is told, and what it tells: facts without a judgement."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from services.executor.loader.verified import Verified


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """How a siege is to be laid."""

    seconds: float = 9.0
    """How long the scheduler is beset; it should be longer than the wait that it may cause."""
    watchdog_ms: int = 10_000
    """The kernel's watchdog; hosts load with this one."""
    values: dict[str, int] = {}
    """Parameters."""
    hotplug: bool = False
    """Take the last CPU away under siege, and load once more afterwards."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a siege."""

    seconds: float
    idle: list[float]
    """Of each CPU, the share of the time in which it did nothing; there were tasks enough."""
    own: list[float]
    """The share in which it ran tasks' own code rather than the kernel's."""
    used_s: dict[str, float]
    """CPU time of each task that never sleeps, by its name."""
    gap_ns: dict[str, int]
    """The longest time for which each task saw its clock stand still, or was not heard of."""
    machine_gap_ns: int
    """The longest such gap of real-time tasks: what the machine took, not the scheduler."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """The exit record."""

    kind: int
    kind_name: str
    code: int
    words: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a scheduler under siege; times are the guest's."""

    cpus: int
    kernel: str
    refused: str = ""
    """Why the kernel did not take it; then there is nothing else."""
    load_s: float = 0.0
    """Verification, on a quiet machine."""
    verified: dict[str, Verified] = {}
    """What it has cost, by program."""
    attach_s: float = 0.0
    """Attaching, under siege."""
    attached: bool = False
    """It stayed until it was detached."""
    crowd: Phase | None = None
    """Tasks for every CPU, some of them bound; None if it did not even come."""
    free: Phase | None = None
    """Only tasks that may run anywhere, and more of them than CPUs."""
    exit: Exit | None = None
    counters: dict[str, int] = {}
    back_s: float = 0.0
    """From the wish to detach until the kernel said that its default is back."""
    state: str = ""
    """What the kernel says of itself afterwards."""
    on_default: bool = False
    """Afterwards every task runs, and none of them by a sched_ext scheduler."""
    longest_gap_ns: int = 0
    """The longest that a task went without a CPU in the last phase, until it was saved."""
    left_at_hotplug: bool = False
    came_again: bool = False


def siege_version() -> str:
    """Changes with whatever a siege does: an old verdict does not speak for a new siege."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
