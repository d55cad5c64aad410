"""Probes in the kernel: what can be asked of one, and what it tells.

A probe is asked for by name, for a time, of a control group; never by its source. Readings are
numbers and names that anybody may have given to a process: plain text, and bounded.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, field

ProbeName = Literal["run-queue", "cpu-time", "wakes", "futex", "io"]
"""run-queue  how long tasks wait for a CPU, after a wake-up and after losing one
cpu-time   time on and off the CPU, and why off it; by name of the task
wakes      who wakes whom, how often, and how long the woken then wait
futex      how long threads wait for each other
io         how long tasks and block devices take over storage
"""

PROBES: Final[tuple[ProbeName, ...]] = get_args(ProbeName)

MOST_SECONDS: Final = 30.0
"""How long one probe may be attached."""
NAME_CHARS: Final = 64
"""Of an escaped name: the kernel's have 15 bytes, and an escape is four characters."""
MOST_NAMES: Final = 16
MOST_WAKES: Final = 32
SLOTS: Final = 32

TaskName = Annotated[str, Meta(max_length=NAME_CHARS)]
Count = Annotated[int, Meta(ge=0)]
Micros = Annotated[float, Meta(ge=0.0)]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, many times over. Percentiles are upper bounds of their slots."""

    count: Count
    total_us: Micros
    mean_us: Micros
    p50_us: Micros
    p99_us: Micros
    most_us: Micros
    slots: Annotated[list[Count], Meta(max_length=SLOTS)] = field(default_factory=list)
    """Slot n counts what took 2^n to 2^(n+1) microseconds, the first also what was shorter.

    Empty slots at the end are left out.
    """


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What tasks of one name took together."""

    name: TaskName
    count: Count
    total_us: Micros


class Wake(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one name wake those of another: an edge of the graph of wake-ups."""

    waker: TaskName
    woken: TaskName
    count: Count
    wait_us: Micros
    """Mean time from the wake-up until the woken one runs."""


class ProbeCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe took of its host."""

    compile_s: float = 0.0
    """From its start until the kernel had taken it; nothing is attached meanwhile."""
    cpu_s: float = 0.0
    """CPU time in user space, nearly all of it compiling."""
    runs: Count = 0
    """How often the kernel ran its programs; 0 if this kernel does not count that."""
    kernel_s: float = 0.0
    """CPU time that they took, by the kernel's own count (BPF_ENABLE_STATS)."""
    kernel_share: float = 0.0
    """The same as a share of all the host's CPU time while it was attached."""


class ProbeReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe has seen of one control group."""

    probe: ProbeName
    seconds: float
    spreads: dict[str, Spread] = field(default_factory=dict)
    """Those in which something was counted."""
    names: Annotated[list[Named], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    """The ones with most time."""
    wakes: Annotated[list[Wake], Meta(max_length=MOST_WAKES)] = field(default_factory=list)
    """The most frequent ones."""
    lost: Count = 0
    """Events that found no room in a table: if there are many, the rest says little."""
    cost: ProbeCost = ProbeCost()
