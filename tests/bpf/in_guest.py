"""Runs one scenario under a policy on a real kernel, as root; prints facts as a line of JSON.

    python3 in_guest.py SCENARIO OBJECT SECONDS

The tests beside it run this in a lab guest. Loads are plain shell and Python, each task's CPU
time is read from /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from services.executor.loader import LoadedScheduler, Sealed

Facts = dict[str, Any]
HOG = "while :; do :; done"
CGROUPS = Path("/sys/fs/cgroup/cox-bpf-test")


@contextlib.contextmanager
def tasks(*commands: list[str]) -> Iterator[list[int]]:
    started = [subprocess.Popen(command) for command in commands]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def shell(script: str, *, nice: int = 0, cpu: int | None = None) -> list[str]:
    pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
    return ["nice", "-n", str(nice), *pin, "bash", "-c", script]


@contextlib.contextmanager
def until(condition: Callable[[], bool], deadline_s: float = 60.0) -> Iterator[None]:
    """Enter when it holds; an emulated machine may take seconds to start an interpreter."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the load did not come up"
        time.sleep(0.05)
    yield


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def last_cpu(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[36])


def mixed(policy: LoadedScheduler, seconds: float) -> Facts:
    """Hogs, sleepers, forkers, pinned tasks, pipes and yielders at once."""
    chatter = "while :; do echo x | cat > /dev/null; done"
    sleeper = "import time\nwhile True: time.sleep(0.002)"
    yielder = "import os\nwhile True: os.sched_yield()"
    with (
        tasks(["python3", "-ISc", sleeper], ["python3", "-ISc", yielder]) as light,
        # Interpreters are up before the hogs come: under them that may take a minute.
        until(lambda: policy.counters()["yields"] > 0),
        tasks(shell(HOG), shell(HOG, nice=10), shell(HOG, cpu=1), shell(chatter)) as heavy,
        until(lambda: all(cpu_ticks(pid) > 0 for pid in heavy)),
    ):
        time.sleep(seconds)
        return {"ticks": [cpu_ticks(pid) for pid in (*light, *heavy)]}


def crowd(policy: LoadedScheduler, seconds: float) -> Facts:
    """Favourites (nice -5) that would like it all, and others; progress in three parts."""
    waker = "import time\nwhile True:\n time.sleep(0.001)\n for _ in range(2000): pass"
    with (
        tasks(*[["nice", "-n", "-5", "python3", "-ISc", waker]] * 2) as wakers,
        until(lambda: all(cpu_ticks(pid) > 5 for pid in wakers)),
        tasks(*[shell(HOG, nice=-5)] * 3, *[shell(HOG)] * 3) as hogs,
        until(lambda: all(cpu_ticks(pid) > 0 for pid in hogs)),
    ):
        victims, parts = hogs[3:], []
        before = [cpu_ticks(pid) for pid in victims]
        for _ in range(3):
            time.sleep(seconds / 3)
            now = [cpu_ticks(pid) for pid in victims]
            parts.append([b - a for a, b in zip(before, now, strict=True)])
            before = now
        return {"progress": parts}


def weights(policy: LoadedScheduler, seconds: float) -> Facts:
    """Three hogs each in two cgroups of weight 100 and 400: CPU time of each, in us."""
    used: dict[str, int] = {}

    def usage(group: Path) -> int:
        return int((group / "cpu.stat").read_text().split()[1])

    CGROUPS.mkdir(exist_ok=True)
    (CGROUPS.parent / "cgroup.subtree_control").write_text("+cpu")
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
    commands = []
    for name, weight in (("light", 100), ("heavy", 400)):
        group = CGROUPS / name
        group.mkdir(exist_ok=True)
        (group / "cpu.weight").write_text(str(weight))
        commands += [shell(f"echo $$ > {group}/cgroup.procs; {HOG}")] * 3
    with tasks(*commands):
        time.sleep(2)
        before = {name: usage(CGROUPS / name) for name in ("light", "heavy")}
        time.sleep(seconds)
        used = {name: usage(CGROUPS / name) - before[name] for name in before}
    for name in ("light", "heavy", ""):
        (CGROUPS / name).rmdir()
    return {"used": used}


def affinity(policy: LoadedScheduler, seconds: float) -> Facts:
    """Two tasks pinned to each CPU, one free; where each was seen."""
    commands = [shell(HOG, cpu=cpu) for cpu in (0, 0, 1, 1)] + [shell(HOG)]
    seen: list[set[int]] = [set() for _ in commands]
    with tasks(*commands) as pids:
        time.sleep(1)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for pid, cpus in zip(pids, seen, strict=True):
                cpus.add(last_cpu(pid))
            time.sleep(0.01)
        return {
            "seen": [sorted(cpus) for cpus in seen],
            "ticks": [cpu_ticks(pid) for pid in pids],
        }


def idle_ticks() -> int:
    """Of all CPUs together, since boot. What other tasks use up is not idle."""
    total = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(total[4]) + int(total[5])


def idle_cpus(policy: LoadedScheduler, seconds: float) -> Facts:
    """As many hogs as CPUs, all started on CPU 0 and then set free: nobody idles beside them."""
    with tasks(*[shell(HOG, cpu=0)] * 2) as pids:
        time.sleep(0.5)
        for pid in pids:
            os.sched_setaffinity(pid, {0, 1})
        time.sleep(0.5)
        before, hogs = idle_ticks(), [cpu_ticks(pid) for pid in pids]
        started = time.monotonic()
        time.sleep(seconds)
        passed = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK")
        return {
            "idle": (idle_ticks() - before) / passed,
            "ticks": [cpu_ticks(pid) - was for pid, was in zip(pids, hogs, strict=True)],
        }


def main() -> None:
    scenario = {f.__name__: f for f in (mixed, crowd, weights, affinity, idle_cpus)}[sys.argv[1]]
    with LoadedScheduler(Sealed(Path(sys.argv[2]).read_bytes())) as policy:
        policy.configure(name="cox_test", timeout_ms=10_000, values={})
        policy.load()
        policy.attach(deadline_s=60)
        facts = scenario(policy, float(sys.argv[3]))
        facts["attached"] = policy.is_attached()
        record = policy.detach(deadline_s=60)
        facts["counters"] = policy.counters()
        facts["histogram"] = policy.wait_histogram()
        facts["exit"] = {"kind": record.kind, "msg": record.msg} if record else None
    facts["state"] = Path("/sys/kernel/sched_ext/state").read_text().strip()
    sys.stdout.write(json.dumps(facts) + "\n")


main()
