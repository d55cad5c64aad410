"""The victim probe: an ordinary process that sleeps shortly and tells how late it woke up.

A process and not a thread: the guard would wait for a starved thread that holds the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time

from services.executor.guard.limits import NAP_S

_REPORT = struct.Struct("dd")
"""When it was written and how late the probe was, by CLOCK_MONOTONIC, in seconds."""


class Victim:
    """The probe and its reports. One that ends is replaced."""

    def __init__(self) -> None:
        self._pipe = -1
        self.pid = 0
        self._start()

    def _start(self) -> None:
        self._pipe, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            _suffer(told)
        os.close(told)
        self._reported_s = time.monotonic()

    def worst_s(self, now_s: float) -> float:
        """The longest delay since the last call; a delay that goes on counts with what it is."""
        worst_s = 0.0
        with contextlib.suppress(BlockingIOError):
            while reports := os.read(self._pipe, 64 * _REPORT.size):
                for at_s, late_s in _REPORT.iter_unpack(reports):
                    self._reported_s = at_s
                    worst_s = max(worst_s, late_s)
            self.close()
            self._start()
        return max(worst_s, now_s - self._reported_s - NAP_S)

    def close(self) -> None:
        """Let the probe end: it has nobody to report to. Nobody waits for it, for it may starve."""
        os.close(self._pipe)


def _suffer(told: int) -> None:
    """The probe's life: in the ordinary class, with nothing open but its pipe."""
    try:
        os.dup2(told, 0)
        os.closerange(1, 1024)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        while True:
            due_s = time.monotonic() + NAP_S
            time.sleep(NAP_S)
            now_s = time.monotonic()
            # A full pipe means that the guard is stopped: that report is lost.
            with contextlib.suppress(BlockingIOError):
                os.write(0, _REPORT.pack(now_s, now_s - due_s))
    finally:
        os._exit(0)  # the guard has ended, or this process was not allowed to be ordinary
