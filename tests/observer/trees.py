"""Small /proc and /sys trees on disk, and the kernel's text formats for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plant(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write each file below `root`, and give `root` back."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def task_files(
    pid: int,
    *,
    tid: int | None = None,
    comm: bytes = b"worker",
    flags: int = 0x400000,
    threads: int = 1,
    started: int = 500,
    run_ns: int = 0,
    wait_ns: int = 0,
    slices: int = 0,
    voluntary: int = 0,
    involuntary: int = 0,
    migrations: int = 0,
) -> dict[str, bytes]:
    """The files of one thread, as Linux 7.3 writes them."""
    tid = pid if tid is None else tid
    stat = stat_text(tid, comm, flags=flags, threads=threads, started=started)
    folder = f"proc/{pid}/task/{tid}"
    files = {
        f"{folder}/stat": stat,
        f"{folder}/schedstat": f"{run_ns} {wait_ns} {slices}\n".encode(),
        f"{folder}/sched": sched_text(tid, comm, voluntary, involuntary, migrations),
    }
    return files | ({f"proc/{pid}/stat": stat} if tid == pid else {})


def stat_text(
    tid: int,
    comm: bytes,
    *,
    flags: int = 0x400000,
    threads: int = 1,
    started: int = 500,
    user: int = 7,
    system: int = 3,
    cpu: int = 1,
) -> bytes:
    return (
        b"%d (%s) R 1 1 1 0 -1 %d 102 0 0 0 %d %d 0 0 20 0 %d 0 %d 3133440 390 "
        b"18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 %d 0 0 0 0 0 1 2 3 4 5 6 7 0\n"
    ) % (tid, comm, flags, user, system, threads, started, cpu)


def sched_text(tid: int, comm: bytes, voluntary: int, involuntary: int, migrations: int) -> bytes:
    return (
        b"%s (%d, #threads: 1)\n"
        b"-------------------------------------------------------------------\n"
        b"se.exec_start                                :        577846.054858\n"
        b"se.sum_exec_runtime                          :            10.802816\n"
        b"se.nr_migrations                             :  %19d\n"
        b"nr_switches                                  :  %19d\n"
        b"nr_voluntary_switches                        :  %19d\n"
        b"nr_involuntary_switches                      :  %19d\n"
        b"se.load.weight                               :              1048576\n"
    ) % (comm, tid, migrations, voluntary + involuntary, voluntary, involuntary)


def host_files(
    *,
    user: int = 100,
    system: int = 10,
    idle: int = 50,
    iowait: int = 0,
    switches: int = 1000,
    forks: int = 40,
    running: int = 3,
    blocked: int = 0,
) -> dict[str, str]:
    """What stands directly in /proc, of a machine with two CPUs."""
    return {
        "proc/stat": (
            f"cpu  {user} 0 {system} {idle} {iowait} 0 0 0 0 0\n"
            "cpu0 1 0 1 1 0 0 0 0 0 0\ncpu1 1 0 1 1 0 0 0 0 0 0\n"
            f"intr 72547 127 13 0\nctxt {switches}\nbtime 1795395809\nprocesses {forks}\n"
            f"procs_running {running}\nprocs_blocked {blocked}\nsoftirq 21678 0 5992\n"
        ),
        "proc/schedstat": (
            "version 17\ntimestamp 4295036665\n"
            "cpu0 0 0 0 0 0 0 14264960151 5033157086 54495\ndomain0 MC 3 0 0\n"
            "cpu1 0 0 0 0 0 0 15993091576 4524638575 4299\ndomain0 MC 3 0 0\n"
        ),
        "proc/pressure/cpu": (
            "some avg10=0.00 avg60=0.04 avg300=0.12 total=3059353\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        ),
    }
