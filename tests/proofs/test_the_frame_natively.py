"""The frame's own C, run in virtual time, under hooks that answer anything.

What is compiled is bpf/frame as it stands (machine.py); Hypothesis makes up machines, tasks,
their behaviour and every hook's every answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from shared.policies import FRAME, wait_bound_ns
from tests.proofs.machine import Adversary, Machine, compile_frame

MS = 1_000_000
FURTHEST = (1 << 63) - 1
HOUR = 3_600_000 * MS
DEFAULTS = {name: tunable.default for name, tunable in FRAME.items()}
EXAMPLES = 3_000 if os.environ.get("COX_LONG") else 300

Event = tuple[str, int, int]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_frame(tmp_path_factory.mktemp("frame") / "frame.so")


@dataclass(frozen=True)
class Story:
    """A machine, its tasks, what happens to them, and what the hooks make of it."""

    llcs: list[int]
    settings: dict[str, int]
    tasks: list[dict[str, Any]]
    groups: list[tuple[int, ...]]
    events: list[Event]
    answers: list[list[int]]
    by_task: bool

    def adversary(self) -> Adversary:
        """By task: each hook always answers the same for the same task. Else one after another."""
        asked = 0

        def answer(hook: int, task: int, _now: int) -> int:
            nonlocal asked
            asked += 1
            tape = self.answers[hook]
            return tape[(task if self.by_task else asked) % len(tape)]

        return answer

    def play(self, machine: Machine) -> None:
        machine.boot(self.llcs, self.adversary(), self.settings)
        for slot, group in enumerate(self.groups, start=1):
            machine.group(slot, *group)
        for number, task in enumerate(self.tasks):
            machine.task(number, **task)
        for number in range(len(self.tasks)):
            machine.do("wake", number, 0)
        for event, first, second in self.events:
            if event == "run":
                machine.run(first)
            else:
                machine.do(event, first, second)

    @property
    def bound_ns(self) -> int:
        return wait_bound_ns(self.settings, len(self.tasks))


def values(kind: str) -> st.SearchStrategy[int]:
    anything = st.integers(0, (1 << 64) - 1)
    telling = {
        "rank": [0, FURTHEST, FURTHEST + 1, 50 * MS, -50 * MS, 2500 * MS, -2500 * MS],
        "slice": [0, 1, (1 << 64) - 1, 5 * MS, 20 * MS, 100 * MS],
        "place": [0, 1, 2, (1 << 32) - 1],
        "preempt": [0, 1, 1 << 63],
    }[kind]
    return st.one_of(st.sampled_from(telling), anything)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    cpus = draw(st.integers(1, 4))
    everywhere = (1 << cpus) - 1
    tasks = draw(st.integers(2, 10))
    numbers, places = st.integers(0, tasks - 1), st.integers(0, cpus - 1)
    groups = draw(st.integers(0, 3))
    clock = st.integers(0, (1 << 64) - 1)
    event = st.one_of(
        st.tuples(
            st.just("run"),
            st.one_of(st.integers(1, 20 * MS), st.integers(1, 300 * MS)),
            st.just(0),
        ),
        st.tuples(st.just("wake"), numbers, places),
        st.tuples(st.sampled_from(["sleep_on", "yield_on", "interrupt", "pin_on"]), places, places),
        st.tuples(st.just("requeue"), numbers, places),
    )
    return Story(
        llcs=draw(st.lists(st.integers(0, 1), min_size=cpus, max_size=cpus)),
        settings={
            name: draw(st.sampled_from([it.low, it.default]) | st.integers(it.low, it.high))
            for name, it in FRAME.items()
        },
        tasks=[
            {
                "cpus": draw(st.one_of(st.just(everywhere), st.integers(1, everywhere))),
                "weight": draw(st.sampled_from([1, 100, 100, 10_000])),
                "kthread": draw(st.sampled_from([False, False, False, True])),
                "group": draw(st.integers(0, groups)),
            }
            for _ in range(tasks)
        ],
        groups=[
            (draw(st.integers(0, groups)), draw(st.integers(1, 10_000)), draw(clock), draw(clock))
            for _ in range(groups)
        ],
        # Some stretches that repeat: what breaks a bound does so again and again.
        events=draw(st.lists(event, min_size=1, max_size=25)) * draw(st.integers(1, 20)),
        answers=[
            draw(st.lists(values(kind), min_size=1, max_size=12))
            for kind in ("rank", "slice", "place", "preempt")
        ],
        by_task=draw(st.booleans()),
    )


def broken_promise(machine: Machine, story: Story) -> str:
    """Play the story; the promise that was broken on the way, or nothing."""
    story.play(machine)
    numbers = range(len(story.tasks))
    if machine.failure:
        return f"the kernel ends it: {machine.failure}"
    if max(machine.waited(number) for number in numbers) > story.bound_ns:
        return "a task waits beyond the bound"
    turn = story.bound_ns + story.settings["frame_slice_max_ns"]
    if max(machine.turned(number) for number in numbers) > turn:
        return "a task does not get its slice"
    if machine.number("idle_beside_ns"):
        return "a CPU idles beside a task that waits"
    return ""


@settings(max_examples=EXAMPLES)
@given(story=stories())
def test_no_answer_of_any_hook_breaks_a_promise(library: Path, story: Story) -> None:
    machine = Machine(library)
    promise = broken_promise(machine, story)
    longest = max(machine.waited(number) for number in range(len(story.tasks)))
    target(longest / story.bound_ns)
    assert not promise


def hogs(
    count: int, *, rank: Sequence[int] = (0,), events: Sequence[Event] = (), cpus: int = 1
) -> Story:
    """Tasks that compute for ever, the last one bound to CPU 0; slices as long as they may be."""
    return Story(
        llcs=[0] * cpus,
        settings=DEFAULTS,
        tasks=[{"cpus": (1 << cpus) - 1}] * (count - 1) + [{"cpus": 1}],
        groups=[],
        events=[*events] or [("run", 10_000 * MS, 0)],
        answers=[[*rank], [(1 << 64) - 1], [0], [0]],
        by_task=True,
    )


INTERRUPTED = [("run", MS, 0), ("interrupt", 0, 0)] * 5_000
STORIES: Mapping[str, Story] = {
    "one task always first": hogs(2, rank=(-HOUR, HOUR)),
    "a real-time task every millisecond": hogs(8, events=INTERRUPTED),
    "a bound task beside a free one": hogs(2, cpus=2),
}
BREAKS = [
    (
        "one task always first",
        ("ask.h", "offset = cox_clamp_s64(rank, -window, window);", "offset = rank;"),
        "a task waits beyond the bound",
    ),
    (
        "one task always first",
        ("dispatch.h", "key = ask_key(prev, t, &view, now);", "key = t->key;"),
        "a task waits beyond the bound",
    ),
    (
        "a real-time task every millisecond",
        (
            "frame.bpf.c",
            "t->slice_ns -= cox_min_u64(elapsed(now, t->stint_at), t->slice_ns);",
            "",
        ),
        "a task waits beyond the bound",
    ),
    (
        "a bound task beside a free one",
        (
            "frame.bpf.c",
            "if (movable && p->nr_cpus_allowed > 1)",
            "if (movable && !was_running)",
        ),
        "a CPU idles beside a task that waits",
    ),
]


@pytest.mark.parametrize("name", STORIES)
def test_the_frame_keeps_its_promises_in(library: Path, name: str) -> None:
    assert not broken_promise(Machine(library), STORIES[name])


@pytest.mark.parametrize(("name", "mutation", "promise"), BREAKS)
def test_a_frame_without_that_rule_is_found_out(
    tmp_path: Path, name: str, mutation: tuple[str, str, str], promise: str
) -> None:
    broken = Machine(compile_frame(tmp_path / "broken.so", mutation=mutation))
    assert broken_promise(broken, STORIES[name]) == promise


def test_whatever_place_answers_a_task_waits_in_one_of_two_queues(library: Path) -> None:
    # The kernel in small calls any other queue, and any CPU the task may not use, a failure.
    asked = [0]

    def adversary(hook: int, _task: int, _now: int) -> int:
        asked[0] += hook == 2
        return [0, MS, asked[0] * 0x9E3779B97F4A7C15, 0][hook]

    machine = Machine(library)
    machine.boot([0, 0, 1], adversary, DEFAULTS)
    for number in range(8):
        machine.task(number, cpus=7)
        machine.do("wake", number, 0)
    machine.run(1_000 * MS)
    assert machine.failure is None
    assert asked[0] > 100
