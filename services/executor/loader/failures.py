"""What the kernel's error numbers mean when a scheduler is loaded or attached, and what to do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from services.executor.loader.libbpf import ENOTSUPP, errno_text
from shared.errors import AttachError, ForeignSchedulerError, MachineError, SchedulerError

if TYPE_CHECKING:
    from services.executor.host.exits import ExitRecord
    from services.executor.loader.libbpf import LibbpfError

_MACHINE = {
    errno.EPERM: (
        "root, or CAP_BPF and CAP_PERFMON",
        "Run the executor as root outside any container that drops these capabilities.",
    ),
    ENOTSUPP: ("the BPF JIT compiler switched on", "sysctl net.core.bpf_jit_enable=1"),
    errno.EOPNOTSUPP: (
        "a kernel without PREEMPT_RT",
        "sched_ext and real-time kernels exclude each other; boot the ordinary kernel.",
    ),
}
SCARCE = {
    errno.ENOMEM: ("enough memory for its programs and maps", "Free memory and try again."),
    errno.EMFILE: (
        "a file descriptor for each of its programs and maps",
        "See how many files the executor has open, and its limit: prlimit --nofile.",
    ),
    errno.ENFILE: (
        "a file descriptor for each of its programs and maps",
        "The whole machine has too many files open: sysctl fs.file-nr fs.file-max.",
    ),
}
"""What this machine is short of, which is no policy's fault."""
_ATTACH = {
    errno.EBUSY: (
        "no other scheduler attached, attaching or leaving",
        "Try again once it is gone: cat /sys/kernel/sched_ext/state",
    ),
    errno.EINVAL: (
        "a kernel booted without isolcpus= and a policy whose ops are valid",
        "Remove isolcpus= from the kernel command line; else read dmesg for the ops it refuses.",
    ),
    errno.E2BIG: (
        "a watchdog timeout of at most 30000 ms, and no ops this kernel does not know",
        "Lower timeout_ms.",
    ),
}


class AttachRefusedError(AttachError):
    """The kernel refused at once: `errno` is its error number."""

    def __init__(self, what: str, *, code: int, expected: str, got: str, advice: str) -> None:
        super().__init__(what, expected=expected, got=got, advice=advice)
        self.errno = code


class EnableFailedError(AttachError):
    """Attach seemed to work, then the scheduler failed; `exit_record` is what it left behind."""

    def __init__(self, name: str, *, got: str, exit_record: ExitRecord | None) -> None:
        super().__init__(
            f"scheduler {name} did not take over",
            expected="state enabled",
            got=got,
            advice="The kernel is back on its default scheduler. Read the policy's exit record.",
        )
        self.exit_record = exit_record


class StillAttachedError(SchedulerError):
    """The kernel did not come back to its default scheduler in time."""


def foreign(name: str | None) -> ForeignSchedulerError:
    """Somebody else's scheduler `name` is attached."""
    return ForeignSchedulerError(
        "another scheduler is attached to this host",
        expected="the kernel's default scheduler",
        got=name or "one without a name",
        advice="Coxswain never unloads what it has not loaded: stop its service first.",
    )


def of_machine(error: LibbpfError, doing: str) -> MachineError | None:
    """The error if it is about this machine's set-up, not about the policy."""
    code = error.errno
    known = {**_MACHINE, **SCARCE}
    if code not in known:
        return None
    expected, advice = known[code]
    return MachineError(
        f"cannot {doing} a scheduler here",
        expected=expected,
        got=errno_text(code),
        advice=advice,
    )


def of_attach(error: LibbpfError, name: str) -> AttachRefusedError | MachineError:
    """The typed error for a failed attach of scheduler `name`."""
    code = error.errno
    expected, advice = _ATTACH.get(code, ("an attach without error", "Read dmesg."))
    said = "; ".join(error.messages[-3:])
    return of_machine(error, "attach") or AttachRefusedError(
        f"the kernel refused to attach scheduler {name}",
        code=code,
        expected=expected,
        got=f"{errno_text(code)} {said}".strip(),
        advice=advice,
    )
