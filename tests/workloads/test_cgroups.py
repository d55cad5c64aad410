"""Where this process's control group is, and what can be done with one of our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.observer.cgroups import Cgroup, make_cgroup, own_cgroup

UNIFIED = "30 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "32 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
NAMESPACED = "30 23 0:27 /a/b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
SPACED = "30 23 0:27 / /mnt/c\\040group rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        (
            "0::/system.slice/cox-observer.service\n",
            UNIFIED,
            "/sys/fs/cgroup/system.slice/cox-observer.service",
        ),
        ("0::/\n", UNIFIED, "/sys/fs/cgroup"),
        ("9:name=systemd:/\n4:memory:/x\n0::/x\n", HYBRID, "/sys/fs/cgroup/unified/x"),
        ("0::/a/b/c\n", NAMESPACED, "/sys/fs/cgroup/c"),
        ("0::/elsewhere\n", NAMESPACED, None),
        ("0::/x\n", SPACED, "/mnt/c group/x"),
        ("4:memory:/x\n", UNIFIED, None),
        ("0::/x\n", "31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", None),
    ],
)
def test_the_own_group_is_found_in_every_layout(
    tmp_path: Path, cgroup: str, mountinfo: str, expected: str | None
) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text(mountinfo)
    assert own_cgroup(tmp_path) == (Path(expected) if expected else None)


def test_no_proc_means_no_group(tmp_path: Path) -> None:
    assert own_cgroup(tmp_path / "nowhere") is None


def test_a_parent_that_cannot_hold_groups_gives_none(tmp_path: Path) -> None:
    assert make_cgroup("one", tmp_path) is None  # a plain directory has no cgroup.kill
    assert list(tmp_path.iterdir()) == []
    assert make_cgroup("one", tmp_path / "missing") is None


def test_a_group_that_is_gone_has_nobody_and_can_be_removed_again(tmp_path: Path) -> None:
    gone = Cgroup(tmp_path / "gone")
    assert gone.pids() == []
    gone.kill()
    gone.remove()


def test_a_group_that_stays_busy_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.observer.cgroups._REMOVE_DEADLINE_S", 0.05)
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "child").mkdir()
    (tmp_path / "busy" / "cgroup.kill").touch()
    with pytest.raises(OSError, match="not empty"):
        Cgroup(tmp_path / "busy").remove()
