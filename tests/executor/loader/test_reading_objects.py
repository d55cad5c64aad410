"""The pure parts: types, parameters, the verifier's log, the meaning of error numbers."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executor.loader import failures, libbpf, rodata, verifier_log
from services.executor.loader.btf import Btf, BtfError, Scalar, Variable
from services.executor.loader.libbpf import LibbpfError
from shared.errors import InputError, MachineError


@pytest.fixture(scope="session")
def btf(objects: Path) -> Btf:
    with (objects / "probe.bpf.o").open("rb") as file:
        section = ELFFile(file).get_section_by_name(".BTF")
        assert section is not None
        return Btf(section.data())


def test_parameters_are_found_with_their_widths_and_signs(btf: Btf) -> None:
    scalars = {name: variable.scalar for name, variable in btf.variables(".rodata").items()}
    assert scalars == {
        "slice_ns": Scalar(8, 0, (1 << 64) - 1),
        "misbehave": Scalar(4, 0, (1 << 32) - 1),
        "fail_after": Scalar(4, 0, (1 << 32) - 1),
        "starved_pid": Scalar(4, -(1 << 31), (1 << 31) - 1),
        "bias": Scalar(4, -(1 << 31), (1 << 31) - 1),
        "frame_small": Scalar(1, 0, 255),
        "frame_mark": Scalar(8, 0, (1 << 64) - 1),
    }
    assert btf.variables(".data.exit")["cox_exit"].scalar is None
    assert btf.variables(".no_such_section") == {}


def test_members_and_enumerators_are_found(btf: Btf) -> None:
    assert btf.enumerators("cox_counter")["COX_COUNTER_MARKS"] == 1
    assert btf.enumerators("no_such_enum") == {}
    assert btf.members(0) == {}


@pytest.mark.parametrize("raw", [b"", b"\x9f\xeb\x01\x00", b"\x00" * 64, b"\x7fELF" * 20])
def test_what_is_no_btf_is_refused(raw: bytes) -> None:
    with pytest.raises(BtfError):
        Btf(raw)


@settings(deadline=None, max_examples=25)  # each reads a thousand types
@given(st.data())
def test_damaged_btf_never_breaks_the_reader(btf: Btf, data: st.DataObject) -> None:
    raw = bytearray(btf._raw)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        damaged = Btf(bytes(raw))
        damaged.variables(".rodata")
        damaged.enumerators("cox_counter")
    except BtfError:
        pass


VARIABLES = {
    "small": Variable(0, 1, Scalar(1, 0, 255)),
    "signed": Variable(4, 4, Scalar(4, -(1 << 31), (1 << 31) - 1)),
    "flag": Variable(8, 1, Scalar(1, 0, 1)),
    "table": Variable(12, 8, None),
}


@given(st.integers(0, 255), st.integers(-(1 << 31), (1 << 31) - 1))
def test_only_the_named_bytes_change(small: int, signed: int) -> None:
    image = bytes(range(100, 120))
    patched = rodata.patch(image, VARIABLES, {"small": small, "signed": signed})
    assert patched[0] == small
    assert int.from_bytes(patched[4:8], "little", signed=True) == signed
    assert patched[1:4] + patched[8:] == image[1:4] + image[8:]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("small", 256, "from 0 to 255"),
        ("small", -1, "from 0 to 255"),
        ("flag", 2, "from 0 to 1"),
        ("small", 1.5, "1.5"),
        ("table", 1, "something of 8 bytes"),
        ("other", 1, "one of: flag, signed, small"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        rodata.patch(bytes(20), VARIABLES, {name: value})
    assert said in str(caught.value)


def test_a_bool_sets_a_flag() -> None:
    assert rodata.patch(bytes(20), VARIABLES, {"flag": True})[8] == 1


def test_a_short_log_is_kept_whole() -> None:
    assert verifier_log.trim("one\n\ntwo\n") == "one\ntwo"


def test_a_long_log_keeps_its_head_and_its_end() -> None:
    trimmed = verifier_log.trim("\n".join(f"line {i}" for i in range(1000)), head=2, tail=3)
    assert trimmed.splitlines() == [
        *("line 0", "line 1", "… 995 lines left out …"),
        *("line 997", "line 998", "line 999"),
    ]


def test_a_log_is_harmless_to_a_terminal() -> None:
    assert verifier_log.trim("; \x1b[2J\x07 evil\n") == r"; \x1b[2J\x07 evil"
    assert len(verifier_log.trim("x" * 5000)) == 240


def test_the_long_explanation_of_new_kernels_keeps_its_reason() -> None:
    log = ["1: (7b) fail", "Reason:", "  why", "Causal path:"]
    log += [f"  step {i}" for i in range(500)] + ["Suggestion:", "  do this", "processed 1 insns"]
    assert verifier_log.trim("\n".join(log)).splitlines() == [
        *("1: (7b) fail", "Reason:", "  why"),
        *("Suggestion:", "  do this", "processed 1 insns"),
    ]


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (errno.EPERM, MachineError, "root"),
        (524, MachineError, "bpf_jit_enable"),
        (errno.EOPNOTSUPP, MachineError, "PREEMPT_RT"),
        (errno.EINVAL, failures.AttachRefusedError, "isolcpus"),
        (errno.E2BIG, failures.AttachRefusedError, "30000 ms"),
        (errno.EBUSY, failures.AttachRefusedError, "no other scheduler"),
        (errno.ENODEV, failures.AttachRefusedError, "dmesg"),
    ],
)
def test_error_numbers_say_what_to_do(code: int, kind: type[Exception], said: str) -> None:
    failure = failures.of_attach(LibbpfError(code, "bpf_map__attach_struct_ops", []), "cox")
    assert type(failure) is kind
    assert said in str(failure)


def test_a_machine_without_a_usable_libbpf_says_which_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libbpf, "NEEDED", (99, 7))
    libbpf.libbpf.cache_clear()
    with pytest.raises(MachineError) as caught:
        libbpf.libbpf()
    assert "99.7" in caught.value.expected
    monkeypatch.setattr(libbpf, "SONAME", "libbpf.so.no-such")
    with pytest.raises(MachineError, match="cannot load schedulers here"):
        libbpf.libbpf()
