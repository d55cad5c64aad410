"""The kernel's text, and what hostile task names make of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.observer.profile import procfs
from tests.observer.trees import host_files, sched_text, stat_text

names = st.one_of(
    st.binary(max_size=15),
    st.sampled_from(
        [b"a) R 0 (b", b") 1 2 3 4 5 6 7", b"(((", b")))", b"x\n1 (y) R", b"\nnr_voluntary", b""]
    ),
)
counts = st.integers(0, 2**63 - 1)


@settings(deadline=None)
@given(names, counts, counts, st.integers(1, 10_000), counts, st.integers(0, 4095))
def test_stat_survives_any_name(
    name: bytes, user: int, system: int, threads: int, started: int, cpu: int
) -> None:
    text = stat_text(42, name, user=user, system=system, threads=threads, started=started, cpu=cpu)
    assert procfs.task_stat(text) == procfs.TaskStat(False, user, system, threads, started, cpu)


def test_kernel_threads_are_told_by_their_flag() -> None:
    assert procfs.task_stat(stat_text(2, b"kthreadd", flags=0x208040)).kernel_thread


@settings(deadline=None)
@given(names, counts, counts, counts)
def test_sched_survives_any_name(
    name: bytes, voluntary: int, involuntary: int, migrations: int
) -> None:
    text = sched_text(42, name, voluntary, involuntary, migrations)
    assert procfs.switches_from_sched(text) == (voluntary, involuntary, migrations)


def test_a_name_cannot_fake_a_counter() -> None:
    text = sched_text(42, b"\nnr_switches:9", 5, 6, 7)
    assert procfs.switches_from_sched(text) == (5, 6, 7)


def test_status_tells_switches_but_no_migrations() -> None:
    text = b"Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n"
    assert procfs.switches_from_status(text) == (150, 545, -1)


def test_the_host_is_summed_over_its_cpus() -> None:
    files = host_files(user=100, system=10, idle=50, iowait=4)
    assert procfs.host_stat(files["proc/stat"].encode()) == procfs.HostStat(
        user_ticks=100,
        system_ticks=10,
        idle_ticks=50,
        iowait_ticks=4,
        steal_ticks=0,
        cpus=2,
        switches=1000,
        forks=40,
        running=3,
        blocked=0,
    )
    assert procfs.host_sched_stat(files["proc/schedstat"].encode()) == (
        14264960151 + 15993091576,
        5033157086 + 4524638575,
        54495 + 4299,
    )
    assert procfs.pressure_some_us(files["proc/pressure/cpu"].encode()) == 3059353


def test_a_cgroups_cpu_time() -> None:
    text = b"usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 0\nnr_periods 0\n"
    assert procfs.cgroup_cpu_us(text) == (30, 20, 10)


@pytest.mark.parametrize(
    "parse",
    [
        procfs.task_stat,
        procfs.sched_stat,
        procfs.switches_from_sched,
        procfs.switches_from_status,
        procfs.host_stat,
        procfs.pressure_some_us,
        procfs.cgroup_cpu_us,
    ],
)
@settings(deadline=None)
@given(text=st.binary(max_size=200))
def test_anything_else_is_refused_and_never_believed(parse: object, text: bytes) -> None:
    assert callable(parse)
    try:
        parse(text)
    except (ValueError, IndexError):
        return
    assert text.strip()


def test_this_kernel_writes_what_is_parsed() -> None:
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}")
    stat = procfs.task_stat((own / "stat").read_bytes())
    assert not stat.kernel_thread
    assert stat.threads >= 1
    assert procfs.sched_stat((own / "schedstat").read_bytes()).run_ns > 0
    assert procfs.switches_from_status((own / "status").read_bytes()).involuntary >= 0
    assert procfs.host_stat(Path("/proc/stat").read_bytes()).cpus >= 1
