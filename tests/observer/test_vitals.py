from __future__ import annotations

from pathlib import Path

from services.observer.vitals import vitals

SCHEDSTAT = """\
version 17
timestamp 4294937300
cpu0 0 0 0 0 0 0 1000000000 200000000 500
domain0 MC 3 0 0 0
cpu1 0 0 0 0 0 0 3000000000 100000000 700
"""


def planted(root: Path, schedstat: str) -> Path:
    boot = root / "proc/sys/kernel/random"
    boot.mkdir(parents=True)
    (boot / "boot_id").write_text("boot-1\n")
    (root / "proc/schedstat").write_text(schedstat)
    return root


def test_running_and_waiting_are_summed_over_cpus(tmp_path: Path) -> None:
    seen = vitals(planted(tmp_path, SCHEDSTAT))
    assert seen is not None
    assert (seen.boot_id, seen.run_ns, seen.wait_ns) == ("boot-1", 4_000_000_000, 300_000_000)


def test_a_kernel_that_does_not_count_has_no_vitals(tmp_path: Path) -> None:
    assert vitals(tmp_path) is None
    assert vitals(planted(tmp_path, "cpu0 1 2\n")) is None
