from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.host.exits import (
    HOTPLUG,
    RESTART,
    ExitClass,
    ExitKind,
    ExitRecord,
    diagnose,
    parse_exit_record,
)


def raw_record(kind: int, *, recorded: int = 1, code: int = 0, reason: bytes, msg: bytes) -> bytes:
    """`struct cox_exit_record` as the frame writes it."""
    return struct.pack("=iIq128s1024s", kind, recorded, code, reason, msg)


def test_a_record_is_read_field_by_field() -> None:
    raw = raw_record(1026, code=-5, reason=b"runnable task stall", msg=b"a[1] failed to run")
    assert parse_exit_record(raw, b"dump\0rest") == ExitRecord(
        kind=1026,
        exit_code=-5,
        reason="runnable task stall",
        msg="a[1] failed to run",
        dump="dump",
    )


def test_a_scheduler_that_has_not_left_has_no_record() -> None:
    assert parse_exit_record(raw_record(0, recorded=0, reason=b"", msg=b"")) is None


@given(st.binary(max_size=128), st.binary(max_size=1024), st.binary(max_size=64))
def test_texts_never_carry_control_characters(reason: bytes, msg: bytes, dump: bytes) -> None:
    found = parse_exit_record(raw_record(1025, reason=reason, msg=msg), dump)
    assert found is not None
    for text in (found.reason, found.msg, found.dump):
        assert all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize(
    ("kind", "code", "requested", "expected"),
    [
        (ExitKind.UNREG, 0, True, ExitClass.REQUESTED),
        (ExitKind.UNREG, 0, False, ExitClass.FOREIGN),
        (ExitKind.UNREG_BPF, 0, False, ExitClass.FAULT),
        (ExitKind.UNREG_BPF, RESTART, False, ExitClass.BENIGN),
        (ExitKind.UNREG_KERN, RESTART | HOTPLUG, False, ExitClass.BENIGN),
        (ExitKind.UNREG_KERN, 0, False, ExitClass.FOREIGN),
        (ExitKind.SYSRQ, 0, False, ExitClass.FOREIGN),
        (ExitKind.PARENT, 0, False, ExitClass.FOREIGN),
        (ExitKind.ERROR, 0, False, ExitClass.FAULT),
        (ExitKind.ERROR_BPF, 0, False, ExitClass.FAULT),
        (ExitKind.STALL, 0, False, ExitClass.FAULT),
        # A stall stays a fault although we were about to detach, whatever its exit code says.
        (ExitKind.STALL, RESTART, True, ExitClass.FAULT),
        (4711, 0, False, ExitClass.FAULT),
        (99, 0, False, ExitClass.FOREIGN),
    ],
)
def test_exits_are_classed(kind: int, code: int, *, requested: bool, expected: ExitClass) -> None:
    found = diagnose(ExitRecord(kind=kind, exit_code=code), requested=requested)
    assert found.exit_class is expected


def test_only_a_fault_blames_the_policy() -> None:
    for kind in ExitKind:
        for requested in (False, True):
            found = diagnose(ExitRecord(kind=kind), requested=requested)
            assert (found.exit_class is ExitClass.FAULT) == (found.at_fault == "the policy")


def test_the_kernels_words_are_passed_on() -> None:
    found = diagnose(ExitRecord(kind=ExitKind.STALL, msg="make[7] failed to run"), requested=False)
    assert found.words.endswith(": make[7] failed to run")


def test_leaving_without_a_record_is_a_fault_unless_asked() -> None:
    assert diagnose(None, requested=False).exit_class is ExitClass.FAULT
    assert diagnose(None, requested=True).exit_class is ExitClass.REQUESTED


def test_kinds_have_names_and_unknown_ones_a_number() -> None:
    assert ExitRecord(kind=1026).kind_name == "STALL"
    assert ExitRecord(kind=4711).kind_name == "4711"
