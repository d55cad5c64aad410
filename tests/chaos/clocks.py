"""Wall clocks of a fleet's processes, each of which can be set while its process runs.

A library in C (`clock.c`) stands between a process and its wall clock. nats-server is left out: it
is written in Go, which asks the kernel itself.
"""

from __future__ import annotations

import mmap
import subprocess
import time
from pathlib import Path

from tests.chaos.history import Clock

SOURCE = Path(__file__).with_name("clock.c")
BUILD = ("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
BYTES = 8


class Clocks:
    """By the names of processes; what they were set to is kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._library = folder / "clock.so"
        subprocess.run([*BUILD, "-o", self._library, SOURCE], check=True)
        self._true_ns = time.time_ns() - time.monotonic_ns()
        self._shown: dict[str, list[Clock]] = {}

    def environment(self, name: str) -> dict[str, str]:
        """With this a process has the clock of that name."""
        path = self._folder / name
        if name not in self._shown:
            path.write_bytes(bytes(BYTES))
            self._shown[name] = [Clock(from_ns=0, ahead_ns=self._true_ns)]
        return {"LD_PRELOAD": str(self._library), "COX_CLOCK": str(path)}

    def set(self, name: str, ahead_s: float) -> None:
        """Step: from now on that clock is so far ahead of true time, running or not."""
        ahead_ns = int(ahead_s * 1e9)
        self._shown[name].append(
            Clock(from_ns=time.monotonic_ns(), ahead_ns=self._true_ns + ahead_ns)
        )
        with (
            (self._folder / name).open("r+b") as file,
            mmap.mmap(file.fileno(), BYTES) as page,
            memoryview(page) as view,
            view.cast("q") as cell,
        ):
            cell[0] = ahead_ns

    def shown(self, name: str) -> list[Clock]:
        """What it has shown since the beginning."""
        return self._shown[name]
