"""The proof on bytecode, on code that no compiler would make."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.gate.insn import decode
from services.executor.gate.purity import impurities

EXIT = (0x95, 0, 0, 0, 0)
ZERO = (0xB7, 0, 0, 0, 0)
Raw = tuple[int, int, int, int, int]


def complaints(*raw: Raw) -> list[str]:
    code = b"".join(
        struct.pack("<BBhi", opcode, dst | src << 4, off, imm) for opcode, dst, src, off, imm in raw
    )
    insns = decode(code)
    return [rule for rule, _, _ in impurities(insns, 0, len(code) // 8)]


def store(register: int, off: int = 0) -> Raw:
    return (0x7B, register, 0, off, 0)


def move(dst: int, src: int) -> Raw:
    return (0xBF, dst, src, 0, 0)


def test_a_store_through_the_frame_pointer_or_a_copy_of_it_is_pure() -> None:
    add = (0x07, 3, 0, 0, -8)
    assert complaints(ZERO, store(10, -8), move(3, 10), add, store(3), EXIT) == []


def test_a_store_through_an_argument_is_not() -> None:
    assert complaints(ZERO, store(1), EXIT) == ["store"]


def test_a_register_that_is_a_stack_address_on_one_path_only_is_none() -> None:
    branch = (0x15, 1, 0, 1, 0)  # if r1 == 0 skip the move
    assert complaints(ZERO, branch, move(3, 10), store(3, -8), EXIT) == ["store"]


def test_what_is_loaded_or_computed_is_no_stack_address() -> None:
    load = (0x79, 3, 10, -8, 0)
    subtract = (0x1F, 3, 1, 0, 0)
    assert complaints(ZERO, store(10, -8), load, store(3), EXIT) == ["store"]
    assert complaints(ZERO, move(3, 10), subtract, store(3), EXIT) == ["store"]


@pytest.mark.parametrize(
    ("insn", "rule"),
    [
        ((0x85, 0, 0, 0, 1), "call"),
        ((0x85, 0, 1, 0, 1), "call"),
        ((0x85, 0, 2, 0, 1), "call"),
        ((0x8D, 1, 0, 0, 0), "call"),
        ((0x05, 0, 0, -1, 0), "loop"),
        ((0x06, 0, 0, 0, -1), "loop"),
        ((0xE5, 0, 0, 0, 0), "loop"),
        ((0x05, 0, 0, 100, 0), "jump"),
        ((0x30, 0, 0, 0, 0), "load"),
        ((0xDB, 10, 1, -8, 0), "store"),
        ((0xBF, 1, 2, 1, 1), "reference"),
    ],
)
def test_each_way_out_is_found(insn: Raw, rule: str) -> None:
    assert complaints(ZERO, insn, EXIT) == [rule]


def test_references_to_maps_are_found() -> None:
    for kind in range(1, 7):
        assert complaints((0x18, 1, kind, 0, 0), (0, 0, 0, 0, 0), ZERO, EXIT) == ["reference"]


def test_running_past_the_end_is_found() -> None:
    assert complaints(ZERO) == ["jump"]


@given(st.binary(max_size=160).map(lambda b: b[: len(b) // 8 * 8]))
def test_whatever_is_accepted_holds_no_call_and_ends(code: bytes) -> None:
    try:
        insns = decode(code)
    except ValueError:
        return
    if not insns or impurities(insns, 0, len(code) // 8):
        return
    assert not any(insn.opcode in {0x85, 0x8D} for insn in insns)
    assert all(insn.target > insn.at for insn in insns if insn.is_jump)
    assert insns[-1].opcode == 0x95 or insns[-1].is_jump
