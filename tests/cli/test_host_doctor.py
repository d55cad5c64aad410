"""`cox doctor --host`, on trees as kernels show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.findings import Finding
from cli.host_doctor import CLOCKS, ClockSync, examine_host, read_clock_sync
from services.observer.inventory import inventory
from tests.cli.conftest import Cox
from tests.observer.trees import plant

CPU = "sys/devices/system/cpu"
RIGHT = ClockSync(synchronised=True, error_s=0.012)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A server that can be steered by a root process."""
    return plant(
        tmp_path,
        {
            "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
            "proc/sys/kernel/osrelease": "7.3.4-amd64\n",
            "proc/sys/net/core/bpf_jit_enable": "1\n",
            "proc/version": "Linux version 7.3.4-amd64 #1 SMP PREEMPT_DYNAMIC Debian\n",
            "proc/self/uid_map": "         0          0 4294967295\n",
            "proc/self/status": "Name:\tcox\nCapEff:\t000001ffffffffff\n",
            f"{CPU}/isolated": "\n",
            f"{CPU}/nohz_full": "(null)\n",
            f"{CLOCKS}/current_clocksource": "tsc\n",
            f"{CLOCKS}/available_clocksource": "tsc hpet acpi_pm\n",
            "sys/kernel/btf/vmlinux": b"\x9f\xeb\x01\x00",
            "sys/kernel/sched_ext/state": "disabled\n",
        },
    )


def look(root: Path, *, needed: bool = True, sync: ClockSync | None = RIGHT) -> list[Finding]:
    return examine_host(root, needed=needed, clock_sync=lambda: sync)


def test_a_good_host_has_nothing_to_be_done(host: Path) -> None:
    findings = look(host)
    assert {finding.standing for finding in findings} == {"good"}
    assert "within 12 ms" in findings[-1].found
    assert len({finding.what for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("change", "found", "advice"),
    [
        ({"proc/sys/net/core/bpf_jit_enable": "0\n"}, "off", "bpf_jit_enable=1"),
        ({"proc/version": "Linux 6.12-rt PREEMPT_RT\n"}, "PREEMPT_RT", "without it"),
        ({f"{CPU}/isolated": "2-3\n"}, "CPUs 2-3", "isolcpus="),
        ({"sys/kernel/sched_ext/root/ops": "lavd_1.0\n"}, "'lavd_1.0'", "Stop the program"),
        ({"etc/machine-id": "\n"}, "no identity", "systemd-machine-id-setup"),
        ({"proc/self/status": "CapEff:\t0000000000000000\n"}, "none", "as root"),
        ({"proc/self/status": "CapEff:\t0000008000000000\n"}, "only CAP_BPF", "CAP_PERFMON"),
        ({"proc/self/uid_map": "0 1000 1\n"}, "user namespace", "outside"),
    ],
)
def test_what_keeps_it_from_being_a_host_is_bad_and_has_an_advice(
    host: Path, change: dict[str, str], found: str, advice: str
) -> None:
    plant(host, change)
    (bad,) = [finding for finding in look(host) if finding.standing != "good"]
    assert bad.standing == "bad"
    assert found in bad.found
    assert advice in bad.advice
    (note,) = [finding for finding in look(host, needed=False) if finding.standing != "good"]
    assert note.standing == "note"  # lab hosts need none of it


@pytest.mark.parametrize(
    ("change", "found", "advice"),
    [
        ({f"{CPU}/nohz_full": "4-7\n"}, "CPUs 4-7", "nohz_full="),
        ({f"{CLOCKS}/current_clocksource": "hpet\n"}, "hpet", "Set tsc in /sys/"),
        (
            {
                f"{CLOCKS}/current_clocksource": "acpi_pm\n",
                f"{CLOCKS}/available_clocksource": "acpi_pm\n",
            },
            "acpi_pm",
            "Nothing better",
        ),
    ],
)
def test_what_only_makes_it_worse_is_a_note(
    host: Path, change: dict[str, str], found: str, advice: str
) -> None:
    plant(host, change)
    (note,) = [finding for finding in look(host) if finding.standing != "good"]
    assert note.standing == "note"
    assert found in note.found
    assert advice in note.advice


@pytest.mark.parametrize("sync", [ClockSync(synchronised=False), None])
def test_a_clock_that_nobody_keeps_right_is_a_note(host: Path, sync: ClockSync | None) -> None:
    (note,) = [finding for finding in look(host, sync=sync) if finding.standing != "good"]
    assert note.what == "clock"
    assert "chrony" in note.advice


def test_two_capabilities_are_enough(host: Path) -> None:
    plant(host, {"proc/self/status": "CapEff:\t000000c000000000\n"})
    assert all(finding.standing == "good" for finding in look(host))


def test_whoever_is_an_obstacle_for_the_planner_is_bad_for_the_doctor(tmp_path: Path) -> None:
    """An empty tree has every obstacle that can be missing; the two lists are one."""
    obstacles = inventory("nothing", tmp_path).obstacles
    said = [finding.found for finding in look(tmp_path) if finding.standing == "bad"]
    assert obstacles
    assert all(any(obstacle.startswith(found) for found in said) for obstacle in obstacles)


def test_the_kernel_is_really_asked_about_its_clock() -> None:
    sync = read_clock_sync()
    assert sync is not None
    assert sync.error_s >= 0.0


def test_the_command_fails_exactly_where_the_planner_would_refuse(cox: Cox) -> None:
    ran = cox("doctor", "--host", "--json")
    findings = ran.document["findings"]
    bad = [finding for finding in findings if finding["standing"] == "bad"]
    assert ran.code == (1 if bad else 0)
    assert ran.document["healthy"] == (not bad)
    assert all(finding["advice"] for finding in bad)
    assert len(bad) >= len(inventory("here").obstacles)
    assert "QEMU" not in {finding["what"] for finding in findings}
