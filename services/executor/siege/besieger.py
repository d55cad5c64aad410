"""The siege itself: load, beset, watch, take back, and look whether the default is back."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from services.executor.host.exits import diagnose
from services.executor.host.sysfs import SchedExtSysfs
from services.executor.loader import EnableFailedError, LoadedScheduler, Sealed, StillAttachedError
from services.executor.siege.crowd import Crowd, Task, crowd_of
from services.executor.siege.groups import cgroup, cpu_ticks, cpu_times, on_sched_ext
from services.executor.siege.measured import Exit, Measured, Phase
from shared.errors import InputError, MachineError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.executor.host.exits import ExitRecord
    from services.executor.siege.measured import Orders

CROWD_WEIGHT = 100
VICTIM_WEIGHT = 400
CROWDED = 0.6
"""Of a siege's time, the part with bound tasks."""
_LAG_S = 60.0
"""An emulated CPU needs seconds where others need none."""
_LOOK_S = 0.05
_REALTIME = 20
_NAME = "cox_siege"
_HOGS = {"hog", "bound", "victim"}
_JUDGED = {"hog", "victim", "sleeper"}
"""Whose clocks run from the beginning to the end; bound tasks are stopped for a while."""


def besiege(artifact: bytes, orders: Orders) -> Measured:
    """Lay it. Raises MachineError if this machine cannot: no sched_ext, no rights."""
    cpus = os.cpu_count() or 1
    # Above every scheduler that is besieged; what is forked is ordinary.
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_REALTIME))
    with (
        cgroup("crowd", CROWD_WEIGHT) as place,
        cgroup("victim", VICTIM_WEIGHT) as victims,
        crowd_of(cpus, place, victims) as crowd,
    ):
        facts = _Facts(cpus)
        with contextlib.suppress(_RefusedError), facts.refusal():
            _under(facts, artifact, orders, crowd)
    if orders.hotplug:
        facts.add(came_again=_comes(artifact, orders))
    return facts.measured()


class _RefusedError(Exception):
    """The kernel did not take it."""


class _Facts:
    """Collects a Measured."""

    def __init__(self, cpus: int) -> None:
        self._found: dict[str, object] = {"cpus": cpus, "kernel": os.uname().release}

    def add(self, **facts: object) -> None:
        self._found |= facts

    def measured(self) -> Measured:
        return Measured(**self._found)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def refusal(self) -> Iterator[None]:
        """What the kernel refuses is a fact; what is about this machine is not."""
        try:
            yield
        except (SchedulerError, InputError) as error:
            self.add(refused=str(error), state=SchedExtSysfs().state())
            raise _RefusedError from error


def _under(facts: _Facts, artifact: bytes, orders: Orders, crowd: Crowd) -> None:
    with LoadedScheduler(Sealed(artifact)) as policy:
        policy.configure(name=_NAME, timeout_ms=orders.watchdog_ms, values=orders.values)
        began = time.monotonic()
        verified = policy.verify()
        facts.add(load_s=time.monotonic() - began, verified=verified)
        let_go = time.monotonic_ns()
        crowd.let_go()
        _until(lambda: crowd.heard_since(let_go), "the load did not come up")
        crowd.begin_phase()
        began = time.monotonic()
        try:
            policy.attach(deadline_s=_LAG_S)
        except EnableFailedError as error:
            facts.add(exit=_exit(error.exit_record))
        else:
            facts.add(attach_s=time.monotonic() - began)
            _watch(facts, policy, orders, crowd)
        _take_back(facts, policy, crowd)


def _watch(facts: _Facts, policy: LoadedScheduler, orders: Orders, crowd: Crowd) -> None:
    facts.add(crowd=_phase(policy, crowd, CROWDED * orders.seconds, set(_HOGS)))
    if policy.is_attached():
        crowd.signal("bound", signal.SIGSTOP)
        facts.add(free=_phase(policy, crowd, (1 - CROWDED) * orders.seconds, _HOGS - {"bound"}))
        crowd.signal("bound", signal.SIGCONT)
    _wait_for_the_watchdog(policy, orders, crowd)
    facts.add(attached=policy.is_attached())
    if orders.hotplug:
        with _last_cpu_offline():
            deadline = time.monotonic() + _LAG_S
            while policy.is_attached() and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
        facts.add(left_at_hotplug=not policy.is_attached())


def _wait_for_the_watchdog(policy: LoadedScheduler, orders: Orders, crowd: Crowd) -> None:
    """While a task hangs the siege goes on: whether the kernel ends it is to be seen."""
    deadline = time.monotonic() + 2 * orders.watchdog_ms / 1000
    while policy.is_attached() and time.monotonic() < deadline:
        now = time.monotonic_ns()
        silent = max(now - crowd.last_heard(task) for task in crowd.tasks if task.kind in _JUDGED)
        if silent < orders.watchdog_ms * 1_000_000 / 2:
            return
        time.sleep(_LOOK_S)


def _phase(policy: LoadedScheduler, crowd: Crowd, seconds: float, busy: set[str]) -> Phase:
    """Watch for so long, or until it leaves."""
    hogs = [task for task in crowd.tasks if task.kind in busy]
    ticks, times = _ticks(hogs), cpu_times()
    crowd.begin_phase()
    began = time.monotonic()
    while time.monotonic() < began + seconds and policy.is_attached():
        time.sleep(_LOOK_S)
    took = time.monotonic() - began
    gaps = crowd.gaps()
    moved = list(zip(times, cpu_times(), strict=True))
    hertz = os.sysconf("SC_CLK_TCK")
    counted = busy | {"sleeper"}
    return Phase(
        seconds=took,
        idle=[(now.idle - was.idle) / max(1, now.whole - was.whole) for was, now in moved],
        own=[(now.own - was.own) / max(1, now.whole - was.whole) for was, now in moved],
        used_s={task.name: (now - ticks[task]) / hertz for task, now in _ticks(hogs).items()},
        gap_ns={task.name: gap for task, gap in gaps.items() if task.kind in counted},
        machine_gap_ns=max(gap for task, gap in gaps.items() if task.kind == "ticker"),
    )


def _ticks(tasks: list[Task]) -> dict[Task, int]:
    return {task: cpu_ticks(task.pid) for task in tasks}


def _take_back(facts: _Facts, policy: LoadedScheduler, crowd: Crowd) -> None:
    began = time.monotonic()
    record = None
    # Then the state below tells.
    with contextlib.suppress(StillAttachedError):
        record = policy.detach(deadline_s=_LAG_S)
    back = time.monotonic()
    facts.add(exit=_exit(record), back_s=back - began, counters=_counters(policy))
    on_default = False
    with contextlib.suppress(MachineError):
        _until(lambda: crowd.heard_since(int(back * 1e9)), "not all tasks run again")
        on_default = not any(on_sched_ext(task.pid) for task in crowd.tasks)
    longest = max(gap for task, gap in crowd.gaps().items() if task.kind in _JUDGED)
    facts.add(state=SchedExtSysfs().state(), on_default=on_default, longest_gap_ns=longest)


def _counters(policy: LoadedScheduler) -> dict[str, int]:
    """The frame's; what is not built on the frame has none."""
    try:
        return policy.counters()
    except InputError:
        return {}


def _exit(record: ExitRecord | None) -> Exit | None:
    if record is None:
        return None
    return Exit(
        kind=record.kind,
        kind_name=record.kind_name,
        code=record.exit_code,
        words=diagnose(record, requested=True).words,
    )


def _comes(artifact: bytes, orders: Orders) -> bool:
    with LoadedScheduler(Sealed(artifact)) as policy:
        policy.configure(name=f"{_NAME}_again", timeout_ms=orders.watchdog_ms, values=orders.values)
        policy.load()
        policy.attach(deadline_s=_LAG_S)
        return policy.is_attached()


@contextlib.contextmanager
def _last_cpu_offline() -> Iterator[None]:
    switch = Path(f"/sys/devices/system/cpu/cpu{(os.cpu_count() or 1) - 1}/online")
    switch.write_text("0")
    try:
        yield
    finally:
        switch.write_text("1")


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _LAG_S
    while not condition():
        if time.monotonic() > deadline:
            raise MachineError(otherwise, expected=f"it within {_LAG_S:g} s", got="nothing")
        time.sleep(_LOOK_S)
