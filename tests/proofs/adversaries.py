"""Hooks that do their worst, each in its own way. tests/bpf/fixtures has some more."""

from __future__ import annotations

from typing import Final

from tests.bpf.fixtures.policies import hooks

_FURTHEST: Final = "0x7fffffffffffffffLL"
_HASH: Final = "((cpu->now_ns ^ task->attained_ns) * 0x9E3779B97F4A7C15ULL)"

ADVERSARIES: Final = {
    # One rank for everybody, and whoever has a CPU keeps it.
    "constant": hooks(rank="0", slice_ns="~0ULL"),
    # The longer a task has waited, the later it comes.
    "inverted": hooks(
        rank=f"task->last_wait_ns > 1000000 ? {_FURTHEST} : -{_FURTHEST}",
        slice_ns="~0ULL",
        preempt="1",
    ),
    # Anything, drawn anew each time.
    "random": hooks(
        rank=f"(s64){_HASH}",
        slice_ns=f"{_HASH} >> 36",
        place=f"(u32)({_HASH} >> 40)",
        preempt=f"(u32)({_HASH} >> 41) & 1",
    ),
    # Against one: the victim is nice, so its weight is below everybody else's.
    "against-one": hooks(
        rank=f"task->weight < 100 ? {_FURTHEST} : -{_FURTHEST}",
        slice_ns="task->weight < 100 ? 0 : ~0ULL",
        preempt="task->weight >= 100",
    ),
    # Every wake-up takes a CPU from somebody.
    "storm": hooks(rank=f"-{_FURTHEST}", slice_ns="0", preempt="~0U"),
    # All to where they came from, for as long as can be.
    "one-queue": hooks(rank=_FURTHEST, slice_ns="~0ULL", place="1", preempt="1"),
}
