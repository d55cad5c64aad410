"""Control groups of a siege, and what the kernel says of CPUs and tasks."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
_EMPTY_S = 60.0
# proc_stat(5): user, nice, system, idle, iowait, …
_OWN = slice(0, 2)
_IDLE = slice(3, 5)


@contextlib.contextmanager
def cgroup(name: str, weight: int) -> Iterator[Path]:
    """A control group with that cpu.weight; removed once it is empty."""
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
    place = CGROUPS / f"cox-siege-{name}"
    place.mkdir(exist_ok=True)
    (place / "cpu.weight").write_text(str(weight))
    try:
        yield place
    finally:
        deadline = time.monotonic() + _EMPTY_S
        while (place / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        place.rmdir()


def cpu_ticks(pid: int) -> int:
    """CPU time of a task, in clock ticks: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class CpuTime(NamedTuple):
    """A CPU's ticks so far: all, without work, and in tasks' own code."""

    whole: int
    idle: int
    own: int


def cpu_times() -> list[CpuTime]:
    """Of each CPU that is online."""
    found = []
    for line in Path("/proc/stat").read_text().splitlines():
        name, *rest = line.split()
        if name.startswith("cpu") and name != "cpu":
            # The last two, time of guests, are contained in the first two.
            ticks = [int(field) for field in rest[:8]]
            found.append(CpuTime(sum(ticks), sum(ticks[_IDLE]), sum(ticks[_OWN])))
    return found


def on_sched_ext(pid: int) -> bool:
    """A task belongs to a sched_ext scheduler now, as far as this kernel tells."""
    text = Path(f"/proc/{pid}/sched").read_text()
    lines = (line.split() for line in text.splitlines() if line.startswith("ext.enabled"))
    return any(line[-1] != "0" for line in lines)
