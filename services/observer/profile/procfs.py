"""Parses what /proc says; pure functions over bytes, fields as in proc(5) and the kernel's docs.

Task names are chosen by whoever runs the task: they may hold brackets, spaces, line breaks
and whole fake fields. So `stat` is read from its last bracket on, and `sched` and `status`
by the last line of each name, since the task's own name stands in the first.

Text that is not what the kernel writes raises ValueError or IndexError.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PF_KTHREAD: Final = 0x00200000
"""Flag of kernel threads (include/linux/sched.h)."""


class TaskStat(NamedTuple):
    """From /proc/<pid>/stat; times in clock ticks, `started` since boot."""

    kernel_thread: bool
    user_ticks: int
    system_ticks: int
    threads: int
    started: int
    cpu: int


class SchedStat(NamedTuple):
    """From /proc/<pid>/schedstat: time on a CPU, time waited for one, times it got one."""

    run_ns: int
    wait_ns: int
    slices: int


class Switches(NamedTuple):
    """Context switches since a task began, and moves to another CPU (-1: not told)."""

    voluntary: int
    involuntary: int
    migrations: int


class HostStat(NamedTuple):
    """From /proc/stat, summed over the CPUs; times in clock ticks."""

    user_ticks: int
    system_ticks: int
    idle_ticks: int
    iowait_ticks: int
    steal_ticks: int
    cpus: int
    switches: int
    forks: int
    running: int
    blocked: int


def task_stat(text: bytes) -> TaskStat:
    """Fields from 3 on, after the name's closing bracket; field 3 is `fields[0]`."""
    fields = text[text.rindex(b")") + 1 :].split()
    return TaskStat(
        kernel_thread=bool(int(fields[6]) & PF_KTHREAD),
        user_ticks=int(fields[11]),
        system_ticks=int(fields[12]),
        threads=int(fields[17]),
        started=int(fields[19]),
        cpu=int(fields[36]),
    )


def sched_stat(text: bytes) -> SchedStat:
    """Three numbers (Documentation/scheduler/sched-stats.rst)."""
    run, wait, slices = text.split()
    return SchedStat(int(run), int(wait), int(slices))


def switches_from_sched(text: bytes) -> Switches:
    """From /proc/<pid>/sched, which also counts migrations."""
    return Switches(
        _last(text, b"\nnr_voluntary_switches"),
        _last(text, b"\nnr_involuntary_switches"),
        _last(text, b"\nse.nr_migrations"),
    )


def switches_from_status(text: bytes) -> Switches:
    """From /proc/<pid>/status, for kernels that have no /proc/<pid>/sched."""
    return Switches(
        _last(text, b"\nvoluntary_ctxt_switches"), _last(text, b"\nnonvoluntary_ctxt_switches"), -1
    )


def _last(text: bytes, name: bytes) -> int:
    """The number after the last `name:`. Searched from behind in one go: this runs often."""
    colon = text.index(b":", text.rindex(name) + len(name))
    end = text.find(b"\n", colon)
    return int(text[colon + 1 : end if end > 0 else len(text)])


def host_stat(text: bytes) -> HostStat:
    """The lines of /proc/stat that count time, switches and forks."""
    totals: list[int] = []
    numbers: dict[bytes, int] = {}
    cpus = 0
    for line in text.splitlines():
        name, _, rest = line.partition(b" ")
        if name == b"cpu":
            totals = [int(value) for value in rest.split()]
        elif name.startswith(b"cpu"):
            cpus += 1
        elif name in {b"ctxt", b"processes", b"procs_running", b"procs_blocked"}:
            numbers[name] = int(rest)
    if len(numbers) < 4:
        raise ValueError(text[:40])
    user, nice, system, idle, iowait, interrupts, soft_interrupts, steal = totals[:8]
    return HostStat(
        user_ticks=user + nice,
        system_ticks=system + interrupts + soft_interrupts,
        idle_ticks=idle,
        iowait_ticks=iowait,
        steal_ticks=steal,
        cpus=cpus,
        switches=numbers[b"ctxt"],
        forks=numbers[b"processes"],
        running=numbers[b"procs_running"],
        blocked=numbers[b"procs_blocked"],
    )


def host_sched_stat(text: bytes) -> SchedStat:
    """From /proc/schedstat: fields 7, 8 and 9 of every CPU (versions 15 to 17), summed."""
    total = SchedStat(0, 0, 0)
    for line in text.splitlines():
        if line.startswith(b"cpu"):
            fields = line.split()
            total = SchedStat(
                total.run_ns + int(fields[7]),
                total.wait_ns + int(fields[8]),
                total.slices + int(fields[9]),
            )
    return total


def pressure_some_us(text: bytes) -> int:
    """Microseconds in which somebody was stalled (Documentation/accounting/psi.rst)."""
    for line in text.splitlines():
        if line.startswith(b"some "):
            return int(line.rpartition(b"total=")[2])
    raise ValueError(text[:40])


def cgroup_cpu_us(text: bytes) -> tuple[int, int, int]:
    """Usage, user and system microseconds of a cgroup's cpu.stat (cgroup-v2.rst)."""
    values = [line.split() for line in text.splitlines()[:3]]
    if [name for name, _ in values] != [b"usage_usec", b"user_usec", b"system_usec"]:
        raise ValueError(text[:40])
    usage, user, system = (int(value) for _, value in values)
    return usage, user, system
