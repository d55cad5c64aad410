"""From the host's own structs to the messages that tell others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from services.executor.host.exits import diagnose
from shared.messages import ExitRecord, SchedulerState

if TYPE_CHECKING:
    from services.executor.host.exits import Diagnosis
    from services.executor.host.exits import ExitRecord as KernelRecord
    from services.executor.host.scheduler import Departure, HostState

MAX_TEXT = 2000
"""Characters of the kernel's texts that leave the host."""


def departure(left: Departure) -> ExitRecord | None:
    """How a scheduler of ours left, as others are told."""
    return exit_record(left.exit_record, left.diagnosis)


def exit_record(
    record: KernelRecord | None, diagnosis: Diagnosis | None = None
) -> ExitRecord | None:
    """Why the kernel let go, as others are told."""
    if record is None:
        return None
    found = diagnosis or diagnose(record, requested=False)
    return ExitRecord(
        kind=record.kind,
        kind_name=record.kind_name,
        reason=record.reason[:MAX_TEXT],
        message=record.msg[:MAX_TEXT],
        exit_code=record.exit_code,
        verdict=found.exit_class.value,
        explanation=found.words[:MAX_TEXT],
    )


def scheduler_state(
    state: HostState,
    *,
    host: str,
    boot_id: str,
    policy: str,
    purpose: Literal["", "trial", "deployed"],
    optimization: str,
    kept: str,
    sealed: bool,
) -> SchedulerState:
    """What runs, as others are told; the purpose counts only while something of ours runs."""
    ours = state.ours
    return SchedulerState(
        host=host,
        boot_id=boot_id,
        state=state.kernel.state,
        ops=state.kernel.ops or "",
        ours=ours is not None,
        policy=policy if ours else "",
        parameters=ours.params if ours else {},
        artifact=ours.artifact_sha256 if ours else "",
        purpose=purpose if ours else "",
        optimization=optimization if ours else "",
        kept=kept,
        sealed=sealed,
        enable_seq=state.kernel.enable_seq,
        unix_ns=time.time_ns(),
    )
