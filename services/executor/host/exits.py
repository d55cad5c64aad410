"""Why a scheduler left the kernel: the exit record, its kinds, and who was at fault.

Kinds and codes: `enum scx_exit_kind` and `enum scx_exit_code` in kernel/sched/ext (6.12 to 7.3).
The frame's `exit` callback copies the kernel's words into `struct cox_exit_record`.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from shared.plain import plain

_MOST_CHARS = 65_536
"""Of one text: the kernel's dump has 32 KiB where nobody asks for more."""

# struct cox_exit_record: s32 kind, u32 recorded, s64 exit_code, char reason[128], char msg[1024]
_RECORD = struct.Struct("=iIq128s1024s")

RESTART = 1 << 48  # SCX_ECODE_ACT_RESTART
HOTPLUG = 1 << 32  # SCX_ECODE_RSN_HOTPLUG
CGROUP_OFFLINE = 1 << 33  # SCX_ECODE_RSN_CGROUP_OFFLINE


class ExitKind(enum.IntEnum):
    """What ended a scheduler; from 1024 on it was an error."""

    NONE = 0
    DONE = 1
    UNREG = 64
    UNREG_BPF = 65
    UNREG_KERN = 66
    SYSRQ = 67
    PARENT = 68
    PARENT_KILL = 69
    ERROR = 1024
    ERROR_BPF = 1025
    STALL = 1026
    ERROR_REENQ = 1027
    ERROR_RESCUE = 1028


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel said when a scheduler left; texts are plain."""

    kind: int
    exit_code: int = 0
    reason: str = ""
    msg: str = ""
    dump: str = ""

    @property
    def kind_name(self) -> str:
        """`STALL`, or the bare number of a kind newer than this code."""
        try:
            return ExitKind(self.kind).name
        except ValueError:
            return str(self.kind)


class ExitClass(enum.StrEnum):
    """How an exit is to be taken."""

    BENIGN = "benign"  # the kernel asks for a reload; the same policy may come back
    REQUESTED = "requested"  # we let go
    FOREIGN = "foreign"  # somebody else on this host ended it
    FAULT = "fault"  # the policy broke a rule; it must not come back


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """An exit's class, who was at fault, and one sentence for people."""

    exit_class: ExitClass
    at_fault: str
    words: str


def parse_exit_record(record: bytes, dump: bytes = b"") -> ExitRecord | None:
    """The record in section `.data.exit`, or None while the scheduler has not left."""
    kind, recorded, exit_code, reason, msg = _RECORD.unpack_from(record)
    if not recorded:
        return None
    return ExitRecord(
        kind=kind, exit_code=exit_code, reason=_text(reason), msg=_text(msg), dump=_text(dump)
    )


def _text(raw: bytes) -> str:
    """A C string made harmless: a policy's author has a say in these bytes."""
    text = raw.partition(b"\0")[0].decode(errors="replace")
    return plain(text, _MOST_CHARS, keep="\n\t").strip()


def diagnose(exit_record: ExitRecord | None, *, requested: bool) -> Diagnosis:
    """Class and fault of an exit; `requested` says that we had begun to detach it ourselves."""
    if exit_record is None:
        if requested:
            return Diagnosis(
                exit_class=ExitClass.REQUESTED, at_fault="nobody", words="detached as asked"
            )
        return Diagnosis(
            exit_class=ExitClass.FAULT,
            at_fault="the policy",
            words="the scheduler is gone and left no exit record",
        )
    said = exit_record.msg or exit_record.reason
    told = f": {said}" if said else ""
    kind = exit_record.kind
    if kind < ExitKind.ERROR and exit_record.exit_code & RESTART:
        cause = "CPU hotplug" if exit_record.exit_code & HOTPLUG else "a change of the system"
        return Diagnosis(
            exit_class=ExitClass.BENIGN,
            at_fault="nobody",
            words=f"the scheduler left to be loaded again after {cause}{told}",
        )
    exit_class, at_fault, words = _KINDS.get(kind, _unknown(kind))
    if kind == ExitKind.UNREG and requested:
        exit_class, at_fault, words = ExitClass.REQUESTED, "nobody", "detached as asked"
        told = ""
    return Diagnosis(exit_class=exit_class, at_fault=at_fault, words=words + told)


def _unknown(kind: int) -> tuple[ExitClass, str, str]:
    if kind >= ExitKind.ERROR:
        return ExitClass.FAULT, "the policy", f"the kernel reports error kind {kind}"
    return ExitClass.FOREIGN, "unknown", f"the kernel reports exit kind {kind}"


_KINDS: dict[int, tuple[ExitClass, str, str]] = {
    ExitKind.NONE: (ExitClass.FAULT, "the policy", "the scheduler left without a reason"),
    ExitKind.DONE: (ExitClass.REQUESTED, "nobody", "the scheduler was already gone"),
    ExitKind.UNREG: (
        ExitClass.FOREIGN,
        "another program on this host",
        "somebody else detached the scheduler's link",
    ),
    ExitKind.UNREG_BPF: (ExitClass.FAULT, "the policy", "the policy left by itself"),
    ExitKind.UNREG_KERN: (ExitClass.FOREIGN, "the kernel", "the kernel ended the scheduler"),
    ExitKind.SYSRQ: (ExitClass.FOREIGN, "an operator", "somebody pressed SysRq-S"),
    ExitKind.PARENT: (ExitClass.FOREIGN, "the parent scheduler", "the parent scheduler left"),
    ExitKind.PARENT_KILL: (
        ExitClass.FOREIGN,
        "the parent scheduler",
        "the parent scheduler ended this one",
    ),
    ExitKind.ERROR: (
        ExitClass.FAULT,
        "the policy",
        "the kernel caught the scheduler breaking a rule",
    ),
    ExitKind.ERROR_BPF: (ExitClass.FAULT, "the policy", "the scheduler reported an error"),
    ExitKind.STALL: (
        ExitClass.FAULT,
        "the policy",
        "the watchdog found a runnable task that did not run in time",
    ),
    ExitKind.ERROR_REENQ: (
        ExitClass.FAULT,
        "the policy",
        "the scheduler queued a task again and again without running it",
    ),
    ExitKind.ERROR_RESCUE: (
        ExitClass.FAULT,
        "the policy",
        "the kernel had to rescue starving tasks and gave up on the scheduler",
    ),
}
