"""The tasks of a siege: forked before anything is loaded, let go at once, each with a clock.

Every task writes into memory shared with the besieger when it last ran and the longest time in
which its clock stood still. So what it suffered is known without its help, even while it waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Clock = memoryview[int]

NAMES: Final = (
    *("nginx", "postgres", "java", "cc1", "redis-server", "node", "mysqld", "python3"),
    *("memcached", "envoy", "rsync", "ffmpeg", "etcd", "ld", "gzip", "qemu-kvm"),
)
"""What hosts run: a scheduler that starves by name knows such."""
SLEEP_S: Final = 0.002
_PR_SET_PDEATHSIG: Final = 1
_CELLS: Final = 2
_LAST, _WORST = range(_CELLS)


class Task(NamedTuple):
    """One of them: `kind` is hog, bound, victim, sleeper, forker or ticker."""

    kind: str
    name: str
    pid: int
    slot: int


class Crowd:
    """Tasks that wait to be let go; `closed` ends them all."""

    def __init__(self, most: int) -> None:
        self._memory = mmap.mmap(-1, 8 * (1 + most * _CELLS))
        self._cells: Clock = memoryview(self._memory).cast("Q")
        self._start, self._go = os.pipe()
        self.tasks: list[Task] = []

    def add(
        self,
        kind: str,
        group: Path | None,
        *,
        cpu: int | None = None,
        nice: int = 0,
        realtime: int = 0,
    ) -> None:
        """Fork one. It waits; `group` is the control group it belongs to."""
        slot, name = len(self.tasks), NAMES[len(self.tasks) % len(NAMES)]
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                self._live(kind, slot, name, cpu, nice, realtime)
            os._exit(1)
        if group is not None:
            (group / "cgroup.procs").write_text(str(pid))
        self.tasks.append(Task(kind, f"{kind}-{name}", pid, slot))

    def _live(
        self, kind: str, slot: int, name: str, cpu: int | None, nice: int, realtime: int
    ) -> NoReturn:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(self._go)
        Path("/proc/self/comm").write_text(name)
        os.nice(nice)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        if realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(realtime))
        os.read(self._start, 1)  # its end: the besieger has let go
        at = 1 + slot * _CELLS
        _round(self._cells, at, _DEEDS.get(kind))

    def let_go(self) -> None:
        """All of them begin."""
        os.close(self._go)
        self._go = -1

    def last_heard(self, task: Task) -> int:
        """When it has last run, by the monotonic clock, ns."""
        return self._cell(task, _LAST)

    def heard_since(self, ns: int) -> bool:
        """Every task has run after that moment of the monotonic clock."""
        return all(self._cell(task, _LAST) > ns for task in self.tasks)

    def begin_phase(self) -> None:
        """From now on gaps are counted anew; one that lasts still counts from its beginning."""
        self._cells[0] = time.monotonic_ns()

    def gaps(self) -> dict[Task, int]:
        """The longest gap of each since the phase began, one that lasts still included, ns."""
        now, began = time.monotonic_ns(), self._cells[0]
        return {
            # One that has not run since then still shows the phase before.
            task: max(now - last, worst if last >= began else 0)
            for task in self.tasks
            for last, worst in [(self._cell(task, _LAST), self._cell(task, _WORST))]
        }

    def _cell(self, task: Task, which: int) -> int:
        return self._cells[1 + task.slot * _CELLS + which]

    def signal(self, kind: str, number: signal.Signals) -> None:
        """Send it to every task of that kind."""
        for task in self.tasks:
            if task.kind == kind:
                os.kill(task.pid, number)

    def close(self) -> None:
        """End all of them."""
        for task in self.tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(task.pid, signal.SIGKILL)
        for task in self.tasks:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(task.pid, 0)


def _round(cells: Clock, at: int, deed: Callable[[], None] | None) -> NoReturn:
    """Run for ever, keep the clock, and do the deed that makes the kind."""
    last_at, worst_at = at + _LAST, at + _WORST
    now = time.monotonic_ns
    last, worst, phase = now(), 0, 0
    while True:
        moment = now()
        if cells[0] != phase:
            phase, worst = cells[0], 0
            cells[worst_at] = 0
        if moment - last > worst:
            worst = moment - last
            cells[worst_at] = worst
        last = moment
        cells[last_at] = moment
        if deed is not None:
            deed()


def _nap() -> None:
    time.sleep(SLEEP_S)


def _fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


_DEEDS: Final[dict[str, Callable[[], None]]] = {"sleeper": _nap, "ticker": _nap, "forker": _fork}


@contextlib.contextmanager
def crowd_of(cpus: int, place: Path, victims: Path) -> Iterator[Crowd]:
    """The crowd in one control group, its victim in another, real-time tickers in none."""
    crowd = Crowd(most=5 * cpus + 8)
    try:
        for _ in range(2 * cpus):
            crowd.add("hog", place)
        for cpu in range(cpus):
            crowd.add("bound", place, cpu=cpu)
            crowd.add("ticker", None, cpu=cpu, realtime=10)
        for _ in range(2):
            crowd.add("sleeper", place)
        crowd.add("forker", place)
        # Nice, so that hooks can tell it from the rest.
        crowd.add("victim", victims, nice=1)
        yield crowd
    finally:
        crowd.close()
