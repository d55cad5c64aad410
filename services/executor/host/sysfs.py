"""What the kernel says about its scheduler, read from sysfs: the truth after every attach.

Documentation/scheduler/sched-ext.rst. `root/` is there only while a scheduler is attached;
`root/events` from 6.15 on, `root/ops` from 6.12 on.
"""

from __future__ import annotations

import errno
import gzip
import re
from pathlib import Path

import msgspec

from shared.errors import MachineError, UnsupportedKernelError

DISABLED = "disabled"
ENABLED = "enabled"
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENODEV}
"""ENODEV: its scheduler has just left."""


class KernelScheduler(msgspec.Struct, frozen=True, kw_only=True):
    """One look at /sys/kernel/sched_ext.

    `state` is disabled, enabling, enabled or disabling; `ops` the attached scheduler's name;
    `enable_seq` counts schedulers enabled since boot; `events` the kernel's own counters.
    """

    state: str
    enable_seq: int
    ops: str | None = None
    switch_all: bool = False
    hotplug_seq: int = 0
    events: dict[str, int] = {}

    @property
    def is_default(self) -> bool:
        """The kernel's own scheduler is in charge of every task."""
        return self.state == DISABLED


class SchedExtSysfs:
    """Reads the kernel's scheduler state below `root` (tests put a tree of their own there).

    Raises MachineError where it cannot look (no file descriptor is left, mostly): that says nothing
    of what runs.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._folder = root / "sys/kernel/sched_ext"

    @property
    def supported(self) -> bool:
        """This kernel has sched_ext."""
        return (self._folder / "state").exists()

    def require(self) -> None:
        """Raise `UnsupportedKernelError` with the reason if this kernel has no sched_ext."""
        if not self.supported:
            raise UnsupportedKernelError(
                "this kernel cannot change its CPU scheduler",
                expected="a kernel ≥ 6.12 with CONFIG_SCHED_CLASS_EXT=y",
                got=self._why_not(),
                advice="Boot such a kernel (Debian: linux-image-amd64 from trixie-backports; "
                "Ubuntu 25.04 or newer has it), or use a lab host: cox lab up.",
            )

    def _why_not(self) -> str:
        release = self._read("proc/sys/kernel/osrelease") or "an unknown kernel"
        found = re.match(r"(\d+)\.(\d+)", release)
        if found and (int(found[1]), int(found[2])) < (6, 12):
            return f"{release}, older than sched_ext"
        option = self._config_option(release)
        if option == "y":
            return f"{release} with CONFIG_SCHED_CLASS_EXT=y but no /sys/kernel/sched_ext (sysfs?)"
        if option == "n":
            return f"{release} with CONFIG_SCHED_CLASS_EXT unset"
        return f"{release} without /sys/kernel/sched_ext"

    def _config_option(self, release: str) -> str | None:
        """`y`, `n`, or None where the kernel's configuration cannot be read."""
        try:
            text = (self._root / f"boot/config-{release}").read_text()
        except OSError:
            try:
                text = gzip.decompress((self._root / "proc/config.gz").read_bytes()).decode()
            except (OSError, EOFError):
                return None
        return "y" if re.search(r"^CONFIG_SCHED_CLASS_EXT=y$", text, re.MULTILINE) else "n"

    def state(self) -> str:
        """disabled, enabling, enabled or disabling."""
        return self._look("state")

    def ops(self) -> str | None:
        """The attached scheduler's name, or None."""
        return self._read("sys/kernel/sched_ext/root/ops")

    def enable_seq(self) -> int:
        """How many schedulers were enabled since boot."""
        return int(self._look("enable_seq"))

    def hotplug_seq(self) -> int:
        """How many CPUs went or came since boot."""
        return int(self._read("sys/kernel/sched_ext/hotplug_seq") or 0)

    def events(self) -> dict[str, int]:
        """The kernel's counters of the attached scheduler; empty without one, and before 6.15."""
        lines = (self._read("sys/kernel/sched_ext/root/events") or "").splitlines()
        pairs = (line.split() for line in lines)
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}

    def read(self) -> KernelScheduler:
        """Everything at one look."""
        return KernelScheduler(
            state=self.state(),
            enable_seq=self.enable_seq(),
            ops=self.ops(),
            switch_all=self._read("sys/kernel/sched_ext/switch_all") == "1",
            hotplug_seq=self.hotplug_seq(),
            events=self.events(),
        )

    def _look(self, name: str) -> str:
        """A file that there is wherever sched_ext is."""
        found = self._read(f"sys/kernel/sched_ext/{name}")
        if found is None:
            raise _unreadable(self._folder / name, "it is not there")
        return found

    def _read(self, path: str) -> str | None:
        try:
            return (self._root / path).read_text().strip()
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise _unreadable(self._root / path, str(error)) from error


def _unreadable(path: Path, got: str) -> MachineError:
    return MachineError(
        "the kernel's word on its scheduler cannot be read",
        expected=f"{path}, and a file descriptor to read it with",
        got=got,
        advice="See how many files the executor has open, and its limit: prlimit --nofile.",
    )
