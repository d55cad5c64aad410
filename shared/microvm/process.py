"""Processes named so that a recycled pid is never taken for the one that was started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec


class ProcessId(msgspec.Struct, frozen=True):
    """A pid, and when the kernel started it, in clock ticks after boot (proc(5), field 22)."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has this pid now. Raises ProcessLookupError."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, ticks, boot_id())

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        return self.boot_id == boot_id() and _start_ticks(self.pid) == self.start_ticks

    def kill(self, wait_s: float = 5.0) -> None:
        """End it at once, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                # The handle is of whoever has the pid now; it can no longer change under us.
                if self.alive:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        deadline_s = time.monotonic() + wait_s
        while self.alive and time.monotonic() < deadline_s:
            time.sleep(0.01)


def processes_in(directory: Path) -> list[ProcessId]:
    """The QEMU processes that were started in this directory, noted anywhere or not."""
    wanted = directory.resolve()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        # It may end, or be somebody else's, while we look.
        with contextlib.suppress(OSError):
            program = (entry / "exe").readlink().name
            if program.startswith("qemu-system-") and (entry / "cwd").readlink() == wanted:
                found.append(ProcessId.of(int(entry.name)))
    return found


def boot_id() -> str:
    """This boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """None if there is no such process, or only its exit status is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may contain anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])
