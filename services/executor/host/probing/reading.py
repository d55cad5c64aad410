"""Raw figures of a probe as a reading: counts as counts, names as plain text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from services.executor.host.probing.known import KNOWN
from shared.plain import plain
from shared.probes import (
    MOST_NAMES,
    MOST_WAKES,
    NAME_CHARS,
    SLOTS,
    Named,
    ProbeCost,
    ProbeReading,
    Spread,
    Wake,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.probes import ProbeName

FIGURES: Final = 36
"""Of one spread, as in bpf/probes/probe.h: its slots, how many, their sum and the longest in ns."""
_COUNT, _TOTAL_NS, _MOST_NS = SLOTS, SLOTS + 1, SLOTS + 2


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the child has loaded, and what that took."""

    programs: list[int]
    maps: list[int]
    compile_s: float
    cpu_s: float


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """What the child has counted. Names are bytes in hexadecimal, up to their NUL."""

    seconds: float
    figures: list[int]
    lost: int
    edges: list[tuple[str, str, int, int]]
    names: list[tuple[str, int, int]]
    runs: int
    run_ns: int
    cpu_s: float


def reading(probe: ProbeName, raw: Raw, ready: Ready, cpus: int) -> ProbeReading:
    """What a probe's raw figures say."""
    spreads = {
        name: spread(raw.figures[at * FIGURES : (at + 1) * FIGURES])
        for at, name in enumerate(KNOWN[probe].spreads)
    }
    names = sorted(raw.names, key=lambda each: each[2], reverse=True)[:MOST_NAMES]
    edges = sorted(raw.edges, key=lambda each: each[2], reverse=True)[:MOST_WAKES]
    return ProbeReading(
        probe=probe,
        seconds=raw.seconds,
        spreads={name: each for name, each in spreads.items() if each.count},
        names=[
            Named(name=task_name(name), count=count, total_us=ns / 1e3) for name, count, ns in names
        ],
        wakes=[
            Wake(
                waker=task_name(waker),
                woken=task_name(woken),
                count=count,
                wait_us=ns / 1e3 / max(1, count),
            )
            for waker, woken, count, ns in edges
        ],
        lost=raw.lost,
        cost=ProbeCost(
            compile_s=ready.compile_s,
            cpu_s=raw.cpu_s,
            runs=raw.runs,
            kernel_s=raw.run_ns / 1e9,
            kernel_share=raw.run_ns / 1e9 / max(raw.seconds * cpus, 1e-9),
        ),
    )


def spread(figures: Sequence[int]) -> Spread:
    """One spread; a percentile is no longer than the longest."""
    slots = list(figures[:SLOTS])
    count, most_us = figures[_COUNT], figures[_MOST_NS] / 1e3
    while slots and not slots[-1]:
        slots.pop()
    return Spread(
        count=count,
        total_us=figures[_TOTAL_NS] / 1e3,
        mean_us=figures[_TOTAL_NS] / 1e3 / max(1, count),
        p50_us=min(_bound_us(slots, 0.5), most_us),
        p99_us=min(_bound_us(slots, 0.99), most_us),
        most_us=most_us,
        slots=slots,
    )


def _bound_us(slots: Sequence[int], q: float) -> float:
    """The upper bound of the slot in which this share of what was counted is reached."""
    left = q * math.fsum(slots)
    for slot, count in enumerate(slots):
        left -= count
        if count and left <= 0:
            return float(2 ** (slot + 1))
    return 0.0


def task_name(raw: str) -> str:
    """A task's name, which anybody may have chosen: an escape for what cannot be seen."""
    text = bytes.fromhex(raw).decode("utf-8", "backslashreplace")
    return plain(text, NAME_CHARS)
