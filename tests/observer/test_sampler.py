"""Sampling a /proc of our own, and the real one while tasks come and go."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from services.observer.profile.sampler import Sampler
from tests.observer.trees import host_files, plant, task_files


def sampler(root: Path) -> Sampler:
    """With a clock that goes on by a second at every question."""
    clock = itertools.count(100)
    return Sampler(root, clock=lambda: float(next(clock)), ticks_per_s=100)


def test_a_look_holds_the_host_and_its_tasks(tmp_path: Path) -> None:
    task = task_files(
        10, started=500, run_ns=5, wait_ns=6, slices=7, voluntary=1, involuntary=2, migrations=3
    )
    plant(tmp_path, {**host_files(), **task})
    sample = sampler(tmp_path).take([10])
    assert sample.host.cpus == 2
    assert sample.sched is not None
    assert sample.sched.slices == 54495 + 4299
    assert sample.pressure_us == {"cpu": 3059353}
    assert sample.present == {10}
    reading = sample.readings[10]
    assert (reading.run_ns, reading.wait_ns, reading.slices) == (5, 6, 7)
    assert reading.started_s == 5.0
    assert reading.details == (1, 1, 2, 3)


def test_totals_come_only_when_asked_for(tmp_path: Path) -> None:
    plant(tmp_path, host_files())
    sample = sampler(tmp_path).take([], totals=False)
    assert (sample.sched, sample.pressure_us) == (None, {})


def test_a_kernel_without_the_optional_files_is_sampled_all_the_same(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/stat": host_files()["proc/stat"], **task_files(10)})
    (tmp_path / "proc/10/task/10/sched").unlink()
    status = "Name:\tx\nvoluntary_ctxt_switches:\t4\nnonvoluntary_ctxt_switches:\t5\n"
    plant(tmp_path, {"proc/10/task/10/status": status})
    sample = sampler(tmp_path).take([10])
    assert (sample.sched, sample.pressure_us, sample.group) == (None, {}, None)
    assert sample.readings[10].details == (1, 4, 5, -1)


def test_a_cgroup_knows_its_threads_and_counts_for_the_dead(tmp_path: Path) -> None:
    usage = "usage_usec 9\nuser_usec 5\nsystem_usec 4\n"
    group = {"cg/cpu.stat": usage, "cg/cgroup.threads": "10\n11\n"}
    plant(tmp_path, {**host_files(), **task_files(10, threads=2), **task_files(11), **group})
    sample = sampler(tmp_path).take([], cgroup=tmp_path / "cg")
    assert sample.group == (9, 5, 4)
    assert set(sample.readings) == sample.present == {10, 11}


def test_a_cgroup_that_has_gone_is_empty(tmp_path: Path) -> None:
    sample = sampler(plant(tmp_path, host_files())).take([10], cgroup=tmp_path / "gone")
    assert (sample.present, sample.group) == (frozenset(), None)


def test_threads_are_found_at_their_process_first_turn(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(), **task_files(10, threads=2), **task_files(10, tid=11)})
    looks = sampler(tmp_path)
    assert looks.take([10]).present == {10}
    second = looks.take([10])
    assert second.present == {10, 11}
    assert set(second.readings) == {10, 11}


def test_tasks_take_turns_when_the_allowance_is_small(tmp_path: Path) -> None:
    plant(tmp_path, host_files())
    for pid in range(10, 15):
        plant(tmp_path, task_files(pid))
    looks = sampler(tmp_path)
    read = [set(looks.take(range(10, 15), allowance_s=0).readings) for _ in range(10)]
    assert all(len(tids) == 1 for tids in read)
    assert set.union(*read[:5]) == set.union(*read[5:]) == set(range(10, 15))


def test_details_cover_half_of_the_turns_at_least(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(), **task_files(10, run_ns=1)})
    looks = sampler(tmp_path)
    detailed = [looks.take([10], allowance_s=0).readings[10].details is not None for _ in range(9)]
    assert detailed == [True, True, False, True, False, False, False, True, False]


def test_details_come_always_while_they_cost_little(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(), **task_files(10, run_ns=1)})
    looks = sampler(tmp_path)
    assert all(looks.take([10], allowance_s=9.0).readings[10].details for _ in range(9))


def test_an_id_that_comes_back_is_another_task(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(), **task_files(10, started=500, run_ns=1000)})
    looks = sampler(tmp_path)
    looks.take([10])
    plant(tmp_path, task_files(10, started=900, run_ns=10))
    reading = looks.take([10]).readings[10]
    assert reading.started_s == 9.0
    assert reading.details is not None


def test_kernel_threads_are_no_part_of_a_workload(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(user=100, system=10), **task_files(10)})
    plant(tmp_path, task_files(2, flags=0x208040))
    looks = sampler(tmp_path)
    assert set(looks.take(looks.pids()).readings) == {10}
    assert looks.pids() == [10]
    assert looks.take(looks.pids()).present == {10}
    assert looks.kernel_threads() == (110, 10)


def test_hostile_names_are_read_over(tmp_path: Path) -> None:
    comm = b"a) R 1 (\nx y"
    plant(tmp_path, {**host_files(), **task_files(10, comm=comm, run_ns=5, voluntary=3)})
    reading = sampler(tmp_path).take([10]).readings[10]
    assert reading.run_ns == 5
    assert reading.details == (1, 3, 0, 0)


def test_a_task_that_vanishes_in_the_middle_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, {**host_files(), **task_files(10), **task_files(11), **task_files(12)})
    (tmp_path / "proc/11/task/11/sched").write_bytes(b"")
    shutil.rmtree(tmp_path / "proc/12")
    sample = sampler(tmp_path).take([10, 11, 12, 13])
    assert set(sample.readings) == {10}


def test_processes_that_come_and_go_all_the_time() -> None:
    """The real /proc, while another process starts and ends processes as fast as it can."""
    script = (
        "import os, time\nend = time.monotonic() + 30\nprint('go', flush=True)\n"
        "while time.monotonic() < end:\n"
        "    child = os.fork()\n    child or os._exit(0)\n    os.waitpid(child, 0)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as spawner:
        assert spawner.stdout is not None
        spawner.stdout.readline()
        looks = Sampler()
        samples = [looks.take(looks.pids(), allowance_s=1.0) for _ in range(30)]
        spawner.kill()
    assert samples[-1].host.forks > samples[0].host.forks
    assert any(spawner.pid in sample.readings for sample in samples)
    assert all(os.getpid() not in sample.present for sample in samples)
