"""A guard over a kernel of files: `run_guard.py ROOT`; what it may not do here is not asked for."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from services.executor.guard.interventions import Interventions
from services.executor.guard.kernel import Kernel
from services.executor.guard.service import Guard
from services.executor.guard.victim import Victim

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
root = Path(sys.argv[1])
guard = Guard(
    Kernel(root), root / "guard.sock", Interventions(root / "state/interventions"), Victim()
)
guard.run()
