"""What the kernel says of its scheduler, and the key that ends it.

A second, smaller reader beside services/executor/host/sysfs.py: the guard uses no package.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

IDLE = ("", "disabled")
OURS = "coxswain_"
"""How the names of our schedulers begin. The guard touches no other."""


class Look(NamedTuple):
    """One look at /sys/kernel/sched_ext."""

    state: str
    """disabled, enabling, enabled or disabling; empty on a kernel without sched_ext."""
    ops: str
    """The attached scheduler's name, or empty."""

    @property
    def ours(self) -> bool:
        """A scheduler of ours is attached, or on its way in or out."""
        return self.state not in IDLE and self.ops.startswith(OURS)

    @property
    def words(self) -> str:
        """What runs now, for people."""
        if not self.state:
            return "this kernel has no sched_ext"
        if not self.ops:
            return "the kernel's default"
        return self.ops if self.ours else f"{self.ops}, which is not ours"


class Kernel:
    """The kernel below `root` (tests put a tree of their own there)."""

    def __init__(self, root: Path = Path("/")) -> None:
        folder = root / "sys/kernel/sched_ext"
        self._state = str(folder / "state")
        self._ops = str(folder / "root/ops")
        self._enable_seq = str(folder / "enable_seq")
        self._sysrq = root / "proc/sysrq-trigger"
        self._boot_id = root / "proc/sys/kernel/random/boot_id"

    def look(self) -> Look:
        """What runs now."""
        state = _read(self._state)
        return Look(state, "" if state in IDLE else _read(self._ops))

    def enable_seq(self) -> int:
        """How many schedulers were enabled since boot."""
        return int(_read(self._enable_seq) or 0)

    def press_sysrq(self) -> str:
        """End whatever scheduler is attached: SysRq-S. Says what happened, in words.

        The key is registered with sched_ext itself (kernel/sched/ext, `sysrq_sched_ext_reset_op`),
        and writing it here works whatever kernel.sysrq forbids at the keyboard. A capital S: the
        small one syncs disks. The caller has seen that what is attached is ours.
        """
        if not _read(self._state):
            return "SysRq-S was not pressed: this kernel has no sched_ext"
        try:
            with self._sysrq.open("w") as file:
                file.write("S")
        except OSError as error:
            return f"SysRq-S could not be pressed: {error}"
        return "SysRq-S"

    def boot_id(self) -> str:
        """Which boot this is."""
        return _read(str(self._boot_id))


def _read(path: str) -> str:
    """A small file's text; empty where there is none, or its scheduler has just left (ENODEV).

    Five times a second, for ever: so without what pathlib and io would do on top.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(file, 4096).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(file)
