"""Which probes there are. A request can name one of these, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.probes import ProbeName

SOURCES: Final = Path(__file__).parents[4] / "bpf" / "probes"


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One probe: its tracepoints with the function for each, and its spreads' names in order."""

    attach: tuple[tuple[str, str], ...]
    spreads: tuple[str, ...]


KNOWN: Final[Mapping[ProbeName, Known]] = {
    "run-queue": Known(
        attach=(
            ("sched:sched_wakeup", "on_wakeup"),
            ("sched:sched_wakeup_new", "on_wakeup_new"),
            ("sched:sched_switch", "on_switch"),
        ),
        spreads=("wait_after_wakeup", "wait_after_preemption", "wait_of_others"),
    ),
    "cpu-time": Known(
        attach=(("sched:sched_switch", "on_switch"),),
        spreads=("on_cpu", "off_cpu_asleep", "off_cpu_storage", "off_cpu_preempted"),
    ),
    "wakes": Known(
        attach=(("sched:sched_waking", "on_waking"), ("sched:sched_switch", "on_switch")),
        spreads=("wait_after_wakeup",),
    ),
    "futex": Known(
        attach=(("syscalls:sys_enter_futex", "on_enter"), ("syscalls:sys_exit_futex", "on_exit")),
        spreads=("futex_wait",),
    ),
    "io": Known(
        attach=(
            ("sched:sched_switch", "on_switch"),
            ("sched:sched_waking", "on_waking"),
            ("block:block_rq_issue", "on_issue"),
            ("block:block_rq_complete", "on_complete"),
        ),
        spreads=("storage_wait", "device_request"),
    ),
}


def sources(probe: ProbeName) -> list[str]:
    """What bcc compiles, in order."""
    return [(SOURCES / name).read_text(encoding="ascii") for name in ("probe.h", f"{probe}.c")]
