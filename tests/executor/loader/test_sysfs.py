from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest

from services.executor.host.sysfs import KernelScheduler, SchedExtSysfs
from shared.errors import MachineError, UnsupportedKernelError


def tree(root: Path, files: dict[str, str]) -> SchedExtSysfs:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return SchedExtSysfs(root)


FOLDER = "sys/kernel/sched_ext"
IDLE = {
    f"{FOLDER}/state": "disabled\n",
    f"{FOLDER}/enable_seq": "3\n",
    f"{FOLDER}/hotplug_seq": "1\n",
    f"{FOLDER}/switch_all": "0\n",
}
BUSY = IDLE | {
    f"{FOLDER}/state": "enabled\n",
    f"{FOLDER}/switch_all": "1\n",
    f"{FOLDER}/root/ops": "cox_probe\n",
    f"{FOLDER}/root/events": "SCX_EV_DISPATCH_KEEP_LAST 7\nSCX_EV_BYPASS_ACTIVATE 1\n",
}


def test_the_default_scheduler(tmp_path: Path) -> None:
    kernel = tree(tmp_path, IDLE)
    kernel.require()
    assert kernel.read() == KernelScheduler(state="disabled", enable_seq=3, hotplug_seq=1)
    assert kernel.read().is_default


def test_an_attached_scheduler(tmp_path: Path) -> None:
    found = tree(tmp_path, BUSY).read()
    assert not found.is_default
    assert (found.ops, found.switch_all) == ("cox_probe", True)
    assert found.events == {"SCX_EV_DISPATCH_KEEP_LAST": 7, "SCX_EV_BYPASS_ACTIVATE": 1}


def test_a_kernel_before_event_counters_has_none(tmp_path: Path) -> None:
    files = {name: text for name, text in BUSY.items() if not name.endswith("events")}
    assert tree(tmp_path, files).read().events == {}


RELEASE = "proc/sys/kernel/osrelease"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({RELEASE: "6.1.0-40-amd64\n"}, "6.1.0-40-amd64, older than sched_ext"),
        ({RELEASE: "5.15.0\n"}, "older than sched_ext"),
        (
            {RELEASE: "6.12.9\n", "boot/config-6.12.9": "# CONFIG_SCHED_CLASS_EXT is not set\n"},
            "6.12.9 with CONFIG_SCHED_CLASS_EXT unset",
        ),
        (
            {RELEASE: "7.3.4\n", "boot/config-7.3.4": "CONFIG_SCHED_CLASS_EXT=y\n"},
            "CONFIG_SCHED_CLASS_EXT=y but no /sys/kernel/sched_ext",
        ),
        ({RELEASE: "6.18.0\n"}, "6.18.0 without /sys/kernel/sched_ext"),
        ({}, "an unknown kernel"),
    ],
)
def test_a_kernel_without_sched_ext_says_why(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    kernel = tree(tmp_path, files)
    assert not kernel.supported
    with pytest.raises(UnsupportedKernelError) as caught:
        kernel.require()
    assert said in caught.value.got
    assert caught.value.advice


def test_the_configuration_is_also_found_in_proc(tmp_path: Path) -> None:
    kernel = tree(tmp_path, {RELEASE: "6.18.0\n"})
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_BPF=y\n"))
    with pytest.raises(UnsupportedKernelError, match="CONFIG_SCHED_CLASS_EXT unset"):
        kernel.require()


@pytest.mark.parametrize("look", ["state", "ops", "enable_seq", "read"])
def test_without_a_descriptor_to_look_with_it_says_nothing_of_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    kernel = tree(tmp_path, BUSY)

    def read_text(_: Path) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(MachineError, match="Too many open files"):
        getattr(kernel, look)()


def test_a_scheduler_that_leaves_while_it_is_read_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tree(tmp_path, BUSY)

    def read_text(_: Path) -> str:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(Path, "read_text", read_text)
    assert kernel.ops() is None
    assert kernel.events() == {}
