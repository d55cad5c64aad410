"""What makes the guard run when nothing else does: a real-time class, and memory that stays."""

from __future__ import annotations

import ctypes
import gc
import os
import signal

PRIORITY = 60
"""Above what ordinary real-time programs use (50), below the kernel's own threads (99)."""
MCL_CURRENT, MCL_FUTURE = 1, 2


def harden() -> None:
    """Be real-time and locked into memory; children are ordinary. Raises OSError if not allowed."""
    # A probe that has ended is nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mlockall: {os.strerror(code)}")
    # Reference counts free everything here; a collection would only be a pause.
    gc.freeze()
    gc.disable()
