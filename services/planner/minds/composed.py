"""Hooks put together from primitives: policies that nobody has written.

A composition says how tasks are ordered, who goes ahead, where they wait, how long they run and who
may take a CPU from whom. Each primitive is a few lines that the frame's facts suffice for; all
compositions pass the gate (tests/planner/test_composed.py), which judges them like any others.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from shared.messages import Made
from shared.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.classes import WorkloadClass

PARENT: Final = "latency"
"""Its frame lets ranks reach far enough for a boost, and preempts soon."""

Order = Literal["arrival", "fair"]
Ahead = Literal["nobody", "short", "new"]
Place = Literal["shared", "own"]
Slice = Literal["steady", "crowded"]
Preempt = Literal["never", "ahead"]


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """One primitive of each kind.

    order    arrival: first come, first served; fair: who had less than its share first
    ahead    short: who sleeps soon; new: who has hardly run since it was created
    place    shared: one queue for all CPUs of a cache; own: the queue of the CPU it ran on
    slice    steady: always the same; crowded: a quarter of it where somebody waits
    preempt  ahead: who goes ahead takes the CPU from who does not
    """

    order: Order
    ahead: Ahead
    place: Place
    slice: Slice
    preempt: Preempt

    @property
    def summary(self) -> str:
        """In words, one line."""
        order = {"arrival": "in order of arrival", "fair": "by what is missing of a fair share"}
        ahead = {"nobody": "", "short": ", short runners ahead", "new": ", new tasks ahead"}
        place = {"shared": "one queue for a cache", "own": "a queue for each CPU"}
        slices = {"steady": "steady slices", "crowded": "short slices where somebody waits"}
        preempt = {"never": "nobody preempts", "ahead": "who goes ahead preempts"}
        return (
            f"Composed: {order[self.order]}{ahead[self.ahead]}; {place[self.place]},"
            f" {slices[self.slice]}, {preempt[self.preempt]}."
        )


def compositions() -> Iterator[Composition]:
    """All of them that differ in what they do: without anybody ahead nobody can preempt."""
    for order, ahead, place, slices, preempt in product(
        ("arrival", "fair"),
        ("nobody", "short", "new"),
        ("shared", "own"),
        ("steady", "crowded"),
        ("never", "ahead"),
    ):
        if ahead == "nobody" and preempt == "ahead":
            continue
        yield Composition(
            order=order,  # type: ignore[arg-type]
            ahead=ahead,  # type: ignore[arg-type]
            place=place,  # type: ignore[arg-type]
            slice=slices,  # type: ignore[arg-type]
            preempt=preempt,  # type: ignore[arg-type]
        )


def hopeful(workload_class: WorkloadClass) -> list[Composition]:
    """All of them, those first whose primitives fit how such workloads behave."""
    wanted = _WANTED.get(workload_class, _FAIR)

    def missing(each: Composition) -> int:
        fields = msgspec.structs.asdict(each)
        return sum(fields[name] != value for name, value in wanted.items())

    return sorted(compositions(), key=missing)


def made_of(composition: Composition, mind: str) -> Made:
    """The hooks, with what can be tuned of them."""
    parameters = [_SLICE]
    if composition.ahead == "short":
        parameters = [_SHORT, _BOOST, _SLICE]
    elif composition.ahead == "new":
        parameters = [_SETTLE, _BOOST, _SLICE]
    return Made(
        parent=PARENT,
        source=_source(composition, parameters),
        summary=composition.summary,
        parameter=parameters,
        mind=mind,
    )


_FAIR: Final = {"order": "fair", "ahead": "short", "place": "shared", "slice": "crowded"}
_WANTED: Final[dict[str, dict[str, str]]] = {
    "latency-under-load": {**_FAIR, "preempt": "ahead"},
    "messaging": {"order": "arrival", "ahead": "nobody", "place": "own", "slice": "steady"},
    "short-process-churn": {
        "order": "arrival",
        "ahead": "new",
        "place": "shared",
        "slice": "steady",
        "preempt": "never",
    },
    "long-tail-batch": {"order": "fair", "ahead": "new", "place": "shared", "slice": "steady"},
    "cpu-bound": {"order": "fair", "ahead": "nobody", "place": "own", "slice": "steady"},
}


def _parameter(name: str, summary: str, low: int, high: int, default: int) -> Parameter:
    return Parameter(
        name=name, summary=summary, unit="ns", low=low, high=high, default=default, scale="log"
    )


_SLICE: Final = _parameter(
    "slice_ns", "How long a task runs before the order is looked at again",
    1_000_000, 20_000_000, 6_000_000,
)  # fmt: skip
_BOOST: Final = _parameter(
    "boost_ns", "How far those who go ahead are moved in time",
    1_000_000, 200_000_000, 100_000_000,
)  # fmt: skip
_SHORT: Final = _parameter(
    "short_ns", "A task that runs at most this long between two sleeps is a short one",
    200_000, 20_000_000, 1_000_000,
)  # fmt: skip
_SETTLE: Final = _parameter(
    "settle_ns", "CPU time since its creation up to which a task is a new one",
    200_000, 50_000_000, 4_000_000,
)  # fmt: skip

_AHEAD: Final = {
    "short": """\
/* Who sleeps soon; who never slept shows by running that it is none of them. */
COX_INLINE bool goes_ahead(const struct cox_task *task)
{
	return cox_max_u64(task->avg_run_ns, task->run_ns) <= short_ns;
}
""",
    "new": """\
/* Who has hardly run since it was created: most of such are done soon. */
COX_INLINE bool goes_ahead(const struct cox_task *task)
{
	return task->attained_ns < settle_ns;
}
""",
}

_ORDER: Final = {"arrival": "0", "fair": "task->lag_ns"}

_SLICES: Final = {
    "steady": "	return slice_ns;\n",
    "crowded": """\
	/* Nobody waits: every switch would be for nothing. */
	if (!cpu->nr_shared && !cpu->nr_queued)
		return slice_ns;
	return slice_ns / 4;
""",
}

_PREEMPT_AHEAD: Final = {
    "short": (
        "	return goes_ahead(task) &&\n"
        "	       cox_max_u64(cpu->running.avg_run_ns, cpu->running.run_ns) > short_ns;\n"
    ),
    "new": "	return goes_ahead(task) && cpu->running.attained_ns >= settle_ns;\n",
}


def _source(of: Composition, parameters: list[Parameter]) -> str:
    constants = "".join(f"const volatile u64 {p.name} = {p.default};\n" for p in parameters)
    helper = f"\n{_AHEAD[of.ahead]}" if of.ahead != "nobody" else ""
    ahead = "	if (goes_ahead(task))\n		return -(s64)boost_ns;\n" if helper else ""
    place = {"shared": "COX_PLACE_SHARED", "own": "COX_PLACE_CPU"}[of.place]
    preempt = _PREEMPT_AHEAD[of.ahead] if of.preempt == "ahead" else "	return 0;\n"
    heads = "const struct cox_task *task, const struct cox_cpu *cpu"
    return f"""\
/* SPDX-License-Identifier: GPL-2.0-only */
/* {of.summary} */
#include "cox/hooks.h"

{constants}{helper}
s64 cox_rank({heads})
{{
{ahead}	return {_ORDER[of.order]};
}}

u64 cox_slice({heads})
{{
{_SLICES[of.slice]}}}

u32 cox_place({heads})
{{
	return {place};
}}

u32 cox_preempt({heads})
{{
{preempt}}}
"""
