"""A sched_ext of files: what the guard reads, and a thread that does what the kernel would do."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

HEALTHY = "healthy"
IGNORES_KILLS = "ignores kills"
IGNORES_ALL = "ignores all"


class PaperKernel:
    """Below `root`. A scheduler that is held by a process goes with it; SysRq-S ends any."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "sys/kernel/sched_ext"
        (self._folder / "root").mkdir(parents=True)
        self._sysrq = root / "proc/sysrq-trigger"
        self._sysrq.parent.mkdir(parents=True)
        self._sysrq.write_text("")
        boot_id = root / "proc/sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True)
        boot_id.write_text("this-boot\n")
        self._seq = 0
        self._holder: int | None = None
        self.pressed = 0
        self.mood = HEALTHY
        self._stop = threading.Event()
        self._leave()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def attach(self, ops: str, holder: int | None = None) -> None:
        """A scheduler takes over; it leaves with the process `holder`."""
        self._seq += 1
        self._write("enable_seq", str(self._seq))
        self._write("root/ops", ops)
        self._holder = os.pidfd_open(holder) if holder is not None else None
        self._write("state", "enabled")

    def state(self) -> str:
        return (self._folder / "state").read_text().strip()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._stop.is_set():
            if self._sysrq.read_text():
                self._sysrq.write_text("")
                self.pressed += 1
                if self.mood != IGNORES_ALL:
                    self._leave()
            if self._holder is not None and self.mood == HEALTHY and _ended(self._holder):
                self._leave()
            time.sleep(0.005)

    def _leave(self) -> None:
        self._write("state", "disabled")
        (self._folder / "root/ops").unlink(missing_ok=True)
        if self._holder is not None:
            os.close(self._holder)
        self._holder = None

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        fresh = path.with_suffix(".new")
        fresh.write_text(f"{text}\n")
        fresh.replace(path)


def _ended(pidfd: int) -> bool:
    """A pidfd is readable once its process has ended."""
    return bool(select.select([pidfd], [], [], 0)[0])
