"""Reads /proc at a bounded cost.

One sample is one look at the host's counters plus as many tasks as the CPU allowance pays
for. Tasks take turns, those never read first, so that a host with more tasks than can be
paid for is still seen whole, each task less often. Tasks may vanish between any two reads.

Of a task's files `schedstat` is by far the cheapest and says the most. The others are read
at a task's first turn, its second, fourth, eighth and so on, so that they always cover half
of its turns at least; and while the allowance is more than enough.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from services.observer.profile import procfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

_GONE: Final = (OSError, ValueError, IndexError)
"""What reading a task that ends right now may raise: no file, ESRCH, or half a file."""


class Details(NamedTuple):
    """What a task's `stat` and `sched` say: the CPU it is on, and counts since it began.

    `migrations` is -1 where the kernel does not count them.
    """

    cpu: int
    voluntary: int
    involuntary: int
    migrations: int


class Reading(NamedTuple):
    """A task's counters at one time. Times since boot, in seconds."""

    at_s: float
    started_s: float
    run_ns: int
    wait_ns: int
    slices: int
    details: Details | None


class GroupUsage(NamedTuple):
    """CPU time of the workload's cgroup, dead tasks included."""

    usage_us: int
    user_us: int
    system_us: int


class Sample(NamedTuple):
    """One look. `present` are the threads known to be there, `readings` those read this time.

    `pressure_us` holds total stall times by name (cpu, io, memory). It and `sched` come with
    the looks that asked for them. What a kernel does not tell is None, or not in there.
    """

    at_s: float
    host: procfs.HostStat
    present: frozenset[int]
    readings: dict[int, Reading]
    pressure_us: dict[str, int]
    sched: procfs.SchedStat | None = None
    group: GroupUsage | None = None


class Beat(NamedTuple):
    """The least of a look: the host's counters and the workload's own at one moment.

    `waiting_us` and `stalled_us` are how long some task of the workload has waited for a CPU and
    for storage, by its group's PSI; None without a group, or without PSI.
    """

    at_s: float
    host: procfs.HostStat
    group: GroupUsage | None = None
    waiting_us: int | None = None
    stalled_us: int | None = None


class BusyTicks(NamedTuple):
    """CPU time in clock ticks: all of the host's, and its kernel threads' part."""

    host: int
    kernel_threads: int


class _Thread(NamedTuple):
    """A thread as /proc/<pid>/task/<tid>."""

    pid: int
    tid: int


class _Known(NamedTuple):
    """What is remembered of a thread between its turns."""

    turns: int
    last: Reading


class Sampler:
    """Looks at the machine whose /proc stands below `root`."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        ticks_per_s: int = os.sysconf("SC_CLK_TCK"),
    ) -> None:
        self._proc = f"{root / 'proc'}"
        self._clock = clock
        self._ticks_per_s = ticks_per_s
        self._threads: dict[int, tuple[int, ...]] = {}
        self._known: dict[_Thread, _Known] = {}
        self._kernel_threads: set[int] = set()
        self._has_sched = True
        self._plenty = False

    def take(
        self,
        pids: Iterable[int],
        *,
        cgroup: Path | None = None,
        allowance_s: float = 0.01,
        totals: bool = True,
    ) -> Sample:
        """Look at the host and at these processes; reading tasks costs `allowance_s` of CPU.

        A `cgroup` knows its threads itself, and `pids` does not matter. At least one task is
        read, whatever it costs. `totals` asks for the host's totals of stall and wait, which
        matter only at both ends. Raises OSError if /proc/stat cannot be read: this is no Linux.
        """
        at_s = self._clock()
        host = procfs.host_stat(_read(f"{self._proc}/stat"))
        threads = self._of_cgroup(cgroup) if cgroup else self._of_processes(pids)
        known = self._known
        self._known = {thread: known[thread] for thread in threads if thread in known}
        readings = self._read_tasks(threads, allowance_s)
        group = _if_there(f"{cgroup}/cpu.stat", procfs.cgroup_cpu_us) if cgroup else None
        sched = _if_there(f"{self._proc}/schedstat", procfs.host_sched_stat) if totals else None
        return Sample(
            at_s=at_s,
            host=host,
            present=frozenset(thread.tid for thread in threads) - self._kernel_threads,
            readings=readings,
            pressure_us=self._pressure() if totals else {},
            sched=sched,
            group=GroupUsage(*group) if group else None,
        )

    def beat(self, cgroup: Path | None = None) -> Beat:
        """Look at a few files only. Raises OSError if /proc/stat cannot be read."""
        at_s = self._clock()
        host = procfs.host_stat(_read(f"{self._proc}/stat"))
        if cgroup is None:
            return Beat(at_s, host)
        group = _if_there(f"{cgroup}/cpu.stat", procfs.cgroup_cpu_us)
        return Beat(
            at_s,
            host,
            GroupUsage(*group) if group else None,
            _if_there(f"{cgroup}/cpu.pressure", procfs.pressure_some_us),
            _if_there(f"{cgroup}/io.pressure", procfs.pressure_some_us),
        )

    @property
    def ticks_per_s(self) -> int:
        """Of the clock that CPU time is counted in."""
        return self._ticks_per_s

    def pids(self) -> list[int]:
        """Every process of the host but this one and those known to be kernel threads."""
        own = os.getpid()
        found = [int(name) for name in _names(self._proc) if name.isdigit()]
        return [pid for pid in found if pid != own and pid not in self._kernel_threads]

    def kernel_threads(self) -> BusyTicks:
        """CPU time that the host and its kernel threads have used so far."""
        host = procfs.host_stat(_read(f"{self._proc}/stat"))
        stats = (
            _if_there(f"{self._proc}/{name}/stat", procfs.task_stat)
            for name in _names(self._proc)
            if name.isdigit()
        )
        used = sum(s.user_ticks + s.system_ticks for s in stats if s and s.kernel_thread)
        return BusyTicks(host.user_ticks + host.system_ticks, used)

    @staticmethod
    def _of_cgroup(cgroup: Path) -> list[_Thread]:
        """Every thread of a cgroup, by the id that /proc knows it under; none once it is gone."""
        tids = _if_there(f"{cgroup}/cgroup.threads", lambda text: [int(t) for t in text.split()])
        return [_Thread(tid, tid) for tid in tids or []]

    def _of_processes(self, pids: Iterable[int]) -> list[_Thread]:
        """Every thread known; a new process counts as its first thread."""
        self._threads = {pid: self._threads.get(pid, (pid,)) for pid in pids}
        return [_Thread(pid, tid) for pid, tids in self._threads.items() for tid in tids]

    def _read_tasks(self, threads: list[_Thread], allowance_s: float) -> dict[int, Reading]:
        readings: dict[int, Reading] = {}
        end = time.thread_time() + allowance_s
        known = self._known
        by_turn = sorted(threads, key=lambda t: known[t].last.at_s if t in known else -1.0)
        for turn, thread in enumerate(by_turn):
            if turn and time.thread_time() >= end:
                break
            try:
                reading = self._read_task(thread)
            except _GONE:
                continue
            if reading is not None:
                readings[thread.tid] = reading
        self._plenty = time.thread_time() < end - allowance_s / 2
        return readings

    def _read_task(self, thread: _Thread) -> Reading | None:
        """One task's turn; None for a kernel thread."""
        pid, tid = thread
        folder = f"{self._proc}/{pid}/task/{tid}"
        known = self._known.get(thread)
        at_s = self._clock()
        sched = procfs.sched_stat(_read(f"{folder}/schedstat"))
        if known is not None and sched.run_ns < known.last.run_ns:
            known = None  # another task has got this id
        details: Details | None = None
        turn = known.turns + 1 if known is not None else 1
        if known is not None and turn & (turn - 1) and not self._plenty:
            started_s = known.last.started_s
        else:
            stat = procfs.task_stat(_read(f"{folder}/stat"))
            if stat.kernel_thread:
                self._kernel_threads.add(tid)
                return None
            started_s = stat.started / self._ticks_per_s
            details = Details(stat.cpu, *self._switches(folder))
            if pid in self._threads and tid == pid:
                names = _names(f"{self._proc}/{pid}/task") if stat.threads > 1 else [str(pid)]
                self._threads[pid] = tuple(int(name) for name in names)
        reading = Reading(at_s, started_s, *sched, details)
        self._known[thread] = _Known(turn, reading)
        return reading

    def _switches(self, folder: str) -> procfs.Switches:
        """From `sched`; on a kernel without it (CONFIG_SCHED_DEBUG) from `status`."""
        if self._has_sched:
            try:
                return procfs.switches_from_sched(_read(f"{folder}/sched"))
            except FileNotFoundError:
                switches = procfs.switches_from_status(_read(f"{folder}/status"))
                self._has_sched = False
                return switches
        return procfs.switches_from_status(_read(f"{folder}/status"))

    def _pressure(self) -> dict[str, int]:
        totals = {
            name: _if_there(f"{self._proc}/pressure/{name}", procfs.pressure_some_us)
            for name in ("cpu", "io", "memory")
        }
        return {name: total for name, total in totals.items() if total is not None}


def _read(path: str) -> bytes:
    """A whole file of /proc. Those about one task come in one piece, large ones in several."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(descriptor, 65_536)
        while more := os.read(descriptor, 65_536):
            text += more
        return text
    finally:
        os.close(descriptor)


def _names(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _if_there(path: str, parse: Callable[[bytes], _T]) -> _T | None:
    """What `parse` makes of a file; None if the kernel has none, or its task has gone."""
    try:
        return parse(_read(path))
    except _GONE:
        return None
