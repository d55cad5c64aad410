"""The frame's order in small, for a search through everything that can happen.

A few tasks on a few CPUs, time in ticks. Whatever a hook may answer, it answers: every rank, every
slice, either queue, either word on preemption, at every step; likewise tasks wake, sleep and yield
whenever they can. One task, the victim, is watched; as nothing sets it apart, it stands for all.

Mirrors bpf/frame (ask.h, dispatch.h, preempt.h, enqueue and dispatch in frame.bpf.c), written
anew so that a slip in one of the two shows. Left out, since they only make waits shorter: slices
that shrink in long queues, the gap between preemptions, nice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

FAR: Final = 1_000
"""What an unclamped rank can be."""


class Task(NamedTuple):
    """One task; the key counts from now, so that states repeat."""

    where: str  # asleep, own, shared, on
    place: int = 0  # own: CPU; shared: LLC; on: CPU
    key: int = 0
    left: int = 0  # of its slice


ASLEEP: Final = Task("asleep")


class State(NamedTuple):
    """An instant. Where `due` says why, a CPU must decide before time goes on."""

    tasks: tuple[Task, ...]  # the victim first
    due: tuple[str, ...]  # by CPU: "", expired, yielded, taken, kicked
    waited: int = 0  # the victim: ticks since it was queued
    turn: int = 0  # ticks since it got its key, until its slice is used up
    beside: bool = False  # it has waited for a tick while a CPU idled that could have run it


@dataclass(frozen=True)
class Frame:
    """Sizes of the model. `broken` names a rule that is left out, to see that it is missed."""

    allowed: tuple[frozenset[int], ...]  # CPUs of each task, the victim's first
    llcs: tuple[int, ...]  # LLC of each CPU
    window: int = 1
    group_window: int = 1
    slice_max: int = 2
    broken: str = ""
    offsets: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        """Every offset that an answer and a cgroup's lag can come to (ask_key)."""
        window, found = self.window, set()
        for rank in range(-window - 1, window + 2):
            rank = rank * FAR if abs(rank) > window else rank  # noqa: PLW2901
            clamped = rank if self.broken == "clamp" else max(-window, min(window, rank))
            for behind in range(-self.group_window, 1):
                toward = (clamped + window) * behind // (self.group_window or 1)
                found.add(clamped + toward + behind)
        object.__setattr__(self, "offsets", frozenset(found))

    @property
    def wait_bound(self) -> int:
        """2W + G and a slice of each other task."""
        others = len(self.allowed) - 1
        return 2 * self.window + self.group_window + others * self.slice_max

    @property
    def turn_bound(self) -> int:
        """And its own slice."""
        return self.wait_bound + self.slice_max

    @property
    def start(self) -> State:
        return State((ASLEEP,) * len(self.allowed), ("",) * len(self.llcs))

    # What holds in every state ---------------------------------------------------------------

    def complaint(self, state: State) -> str:
        """The promise that this state breaks, or nothing."""
        if state.waited > self.wait_bound:
            return f"waits {state.waited} ticks, promised are {self.wait_bound}"
        if state.turn > self.turn_bound:
            return f"has not had its slice after {state.turn} ticks"
        if state.beside:
            return "waits beside an idle CPU that may run it"
        return ""

    def canonical(self, state: State) -> State:
        """The same with the other tasks in a fixed order: which is which makes no difference."""
        tasks = list(state.tasks)
        for allowed in set(self.allowed[1:]):
            alike = [n for n in range(1, len(tasks)) if self.allowed[n] == allowed]
            for number, task in zip(alike, sorted(tasks[n] for n in alike), strict=True):
                tasks[number] = task
        return state._replace(tasks=tuple(tasks))

    # What can happen ------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Everything that can happen next, in words, and where it leads."""
        due = [cpu for cpu, why in enumerate(state.due) if why]
        if due:
            for cpu in due:
                yield from self._decide(state, cpu)
            return
        yield "a tick", self._tick(state)
        woken = set()
        for number, task in enumerate(state.tasks):
            if task.where == "asleep":
                kind = (number == 0, self.allowed[number])
                if kind not in woken:  # another that sleeps and is alike would do the same
                    yield from self._wake(state, number)
                woken.add(kind)
            elif task.where == "on":
                cpu = task.place
                yield f"{number} sleeps", _kick(_put(state, number, ASLEEP), cpu, "kicked")
                yield f"{number} yields", _kick(state, cpu, "yielded")

    def _tick(self, state: State) -> State:
        tasks, due = [], list(state.due)
        for task in state.tasks:
            if task.where == "asleep":
                tasks.append(task)
                continue
            running = task.where == "on"
            task = task._replace(key=task.key - 1, left=task.left - running)  # noqa: PLW2901
            if running and task.left == 0:
                due[task.place] = "expired"
            tasks.append(task)
        victim = state.tasks[0]
        waits = victim.where in {"own", "shared"}
        beside = waits and any(cpu in self.allowed[0] for cpu in self._idle(state))
        return State(
            tuple(tasks),
            tuple(due),
            waited=state.waited + 1 if waits else 0,
            turn=0 if victim.where == "asleep" else state.turn + 1,
            beside=beside,
        )

    def _wake(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        """select_cpu, then enqueue, then perhaps preemption."""
        idle = [cpu for cpu in self._idle(state) if cpu in self.allowed[number]]
        for cpu in idle:
            yield from self._direct(state, number, cpu)
        if idle:
            return
        for cpu in self.allowed[number]:
            for said, queued in self._queue(state, number, cpu, self._fresh()):
                yield f"{number} wakes, {said}", queued
                me = queued.tasks[number]
                for other in queued.tasks:
                    reached = other.where == "on" and (
                        other.place == cpu
                        if me.where == "own"
                        else self.llcs[other.place] == self.llcs[cpu]
                    )
                    if reached and me.key < other.key and not queued.due[other.place]:
                        taken = _kick(queued, other.place, "taken")
                        yield f"{number} wakes, {said}, takes CPU {other.place}", taken

    def _decide(self, state: State, cpu: int) -> Iterator[tuple[str, State]]:
        """dispatch, and what the core does after it."""
        why = state.due[cpu]
        state = _kick(state, cpu, "")
        heads = [
            head
            for queue in (("own", cpu), ("shared", self.llcs[cpu]))
            if (head := self._head(state, queue, cpu)) is not None
        ]
        if self.broken != "own first":
            heads.sort(key=lambda head: state.tasks[head].key)  # stable: a tie is the own queue's
        first = heads[0] if heads else None
        previous = next(
            (n for n, t in enumerate(state.tasks) if t.where == "on" and t.place == cpu), None
        )
        if previous is not None:
            goes = False
            for said, kept in self._keep(state, previous, why):
                if first is None or (
                    why != "yielded"
                    and (kept.key <= state.tasks[first].key or self.broken == "keep")
                ):
                    new = state if why == "taken" else _begin(state, previous)
                    yield f"{previous} goes on with {said}", _put(new, previous, kept)
                else:
                    goes = True
            if not goes:
                return
        if first is None:
            first = self._steal(state, cpu)
        if first is None:
            return (yield f"CPU {cpu} idles", state)
        taken = state.tasks[first]
        state = _run(state, first, cpu, taken.key, taken.left)
        if previous is None:
            yield f"CPU {cpu} takes {first}", state
            return
        was = state.tasks[previous]
        keeps_place = why == "taken" and self.broken != "new key"
        ways = [(was.key, was.left)] if keeps_place else self._fresh()
        for said, queued in self._queue(state, previous, cpu, ways, lost_by=why):
            yield f"CPU {cpu} takes {first} from {previous} ({why}), {said}", queued

    # Parts ----------------------------------------------------------------------------------

    def _fresh(self) -> list[tuple[int, int]]:
        """Every new key and slice."""
        return [(o, left) for o in sorted(self.offsets) for left in range(1, self.slice_max + 1)]

    def _idle(self, state: State) -> list[int]:
        busy = {task.place for task in state.tasks if task.where == "on"}
        return [cpu for cpu in range(len(self.llcs)) if cpu not in busy]

    def _direct(self, state: State, number: int, cpu: int) -> Iterator[tuple[str, State]]:
        state = _begin(state, number)
        for left in range(1, self.slice_max + 1):
            yield (
                f"{number} wakes onto idle CPU {cpu} for {left}",
                _run(state, number, cpu, self.window, left),
            )

    def _queue(
        self,
        state: State,
        number: int,
        cpu: int,
        ways: Iterable[tuple[int, int]],
        lost_by: str = "",
    ) -> Iterator[tuple[str, State]]:
        """enqueue: with each key and slice, in either queue. An idle CPU is kicked."""
        alone = not any(
            (task.where, task.place) in {("own", cpu), ("shared", self.llcs[cpu])}
            for task in state.tasks
        )
        stays = self.broken == "look" and alone and lost_by != ""
        free = len(self.allowed[number]) == len(self.llcs)
        idle = [] if stays else [i for i in self._idle(state) if i in self.allowed[number]]
        if lost_by != "taken":
            state = _begin(state, number)
        if number == 0:
            state = state._replace(waited=0, beside=False)
        for key, left in ways:
            for where, place in [("own", cpu), ("shared", self.llcs[cpu])][: 1 + free]:
                queued = _put(state, number, Task(where, place, key, left))
                said = f"queued {where} with key {key:+} for {left}"
                if not idle:
                    yield said, queued
                for other in idle:
                    yield f"{said}, kicks CPU {other}", _kick(queued, other, "kicked")

    def _keep(self, state: State, number: int, why: str) -> Iterator[tuple[str, Task]]:
        """keep_running: the keys and slices with which a task may go on, if it may."""
        task = state.tasks[number]
        if why == "taken" and self.broken != "new key":
            yield "what is left", task
            return
        for key, left in self._fresh():
            key = task.key if self.broken == "ageing" else key  # noqa: PLW2901
            yield f"key {key:+} for {left}", task._replace(key=key, left=left)

    def _head(self, state: State, queue: tuple[str, int], cpu: int) -> int | None:
        """First in a queue of those that the CPU may run; of equal keys the victim is last."""
        waiting = [
            number
            for number, task in enumerate(state.tasks)
            if (task.where, task.place) == queue and cpu in self.allowed[number]
        ]
        return min(waiting, key=lambda n: (state.tasks[n].key, n == 0), default=None)

    def _steal(self, state: State, cpu: int) -> int | None:
        for step in range(1, len(self.llcs)):
            found = self._head(state, ("own", (cpu + step) % len(self.llcs)), cpu)
            if found is not None:
                return found
        for llc in sorted(set(self.llcs) - {self.llcs[cpu]}):
            found = self._head(state, ("shared", llc), cpu)
            if found is not None:
                return found
        return None


def _put(state: State, number: int, task: Task) -> State:
    tasks = list(state.tasks)
    tasks[number] = task
    return state._replace(tasks=tuple(tasks))


def _run(state: State, number: int, cpu: int, key: int, left: int) -> State:
    if number == 0:
        state = state._replace(waited=0, beside=False)
    return _put(state, number, Task("on", cpu, key, left))


def _kick(state: State, cpu: int, why: str) -> State:
    due = list(state.due)
    due[cpu] = why
    return state._replace(due=tuple(due))


def _begin(state: State, number: int) -> State:
    """The task is given a new key: its turn begins."""
    return state._replace(turn=0) if number == 0 else state
