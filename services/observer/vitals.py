"""What this host's kernel has counted so far: a look that costs nothing and disturbs nobody.

/proc/schedstat counts in the scheduler's core, beneath every class: tasks under a sched_ext
policy are counted like those under the default (kernel/sched/stats.h, Documentation/scheduler/
sched-stats.rst).
"""

from __future__ import annotations

import time
from pathlib import Path

from services.observer.profile.procfs import host_sched_stat
from shared.messages import Vitals


def vitals(root: Path = Path("/")) -> Vitals | None:
    """The counters now; None where the kernel does not tell them (no CONFIG_SCHEDSTATS)."""
    try:
        counted = host_sched_stat((root / "proc/schedstat").read_bytes())
        boot_id = (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError, IndexError):
        return None
    return Vitals(
        boot_id=boot_id,
        at_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        run_ns=counted.run_ns,
        wait_ns=counted.wait_ns,
    )
