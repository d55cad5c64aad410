"""The proof on bytecode, on code that no compiler would make."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.gate.insn import decode
from services.executor.gate.purity import Examined, examine

EXIT = (0x95, 0, 0, 0, 0)
ZERO = (0xB7, 0, 0, 0, 0)
Raw = tuple[int, int, int, int, int]


def examined(*raw: Raw, references: frozenset[int] = frozenset()) -> Examined:
    code = b"".join(
        struct.pack("<BBhi", opcode, dst | src << 4, off, imm) for opcode, dst, src, off, imm in raw
    )
    return examine(decode(code), 0, len(code) // 8, references)


def complaints(*raw: Raw, references: frozenset[int] = frozenset()) -> list[str]:
    return [rule for rule, _, _ in examined(*raw, references=references).complaints]


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


def load(dst: int, src: int, off: int = 0) -> Raw:
    return (0x79, dst, src, off, 0)


WIDE = ((0x18, 3, 0, 0, 0), (0, 0, 0, 0, 0))


def test_arguments_constants_and_the_own_stack_may_be_read() -> None:
    assert complaints(load(0, 1, 8), load(0, 2), EXIT) == []
    assert complaints(store(10, -8), load(0, 10, -8), EXIT) == []
    assert complaints(*WIDE, load(0, 3), EXIT, references=frozenset({0})) == []


def test_nothing_else_may() -> None:
    assert complaints(*WIDE, load(0, 3), EXIT) == ["load"]
    assert complaints(load(3, 1), load(0, 3), EXIT) == ["load"]
    assert complaints(load(0, 10, -520), EXIT) == ["load"]
    assert complaints(load(0, 10, 0), EXIT) == ["load"]
    assert complaints(load(0, 6), EXIT) == ["load"]


def test_an_address_survives_a_stay_on_the_stack_and_no_longer() -> None:
    kept, back = (0x7B, 10, 1, -8, 0), load(3, 10, -8)
    assert complaints(kept, back, load(0, 3), EXIT) == []
    assert complaints(kept, (0x72, 10, 0, -3, 0), back, load(0, 3), EXIT) == ["load"]
    assert complaints(kept, store(10, -8), back, load(0, 3), EXIT) == ["load"]


def test_an_index_into_facts_is_for_the_verifier_and_one_into_the_stack_is_not_stored_to() -> None:
    index, add = load(4, 1), (0x0F, 3, 4, 0, 0)
    assert complaints(index, move(3, 1), add, load(0, 3), EXIT) == []
    assert complaints(index, move(3, 10), add, load(0, 3), EXIT) == []
    assert complaints(ZERO, index, move(3, 10), add, store(3), EXIT) == ["store"]


def test_code_that_nothing_leads_to_is_no_code() -> None:
    assert set(complaints(ZERO, EXIT, ZERO, EXIT)) == {"jump"}


def test_what_a_function_costs_is_told() -> None:
    skip = (0x15, 1, 0, 1, 0)  # the longest way is the one that does not skip
    told = examined(ZERO, skip, store(10, -24), EXIT)
    assert told == Examined([], insns=4, steps=4, stack_bytes=24)
    assert examined(ZERO, (0x05, 0, 0, 0, 0), EXIT).steps == 3


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
        ((0xEF, 1, 0, 0, 0), "instruction"),
        ((0x95, 0, 0, -1, 0), "instruction"),
        ((0xBF, 10, 1, 0, 0), "register"),
        ((0xBF, 11, 1, 0, 0), "register"),
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
    if not insns or examine(insns, 0, len(code) // 8).complaints:
        return
    assert not any(insn.opcode in {0x85, 0x8D} for insn in insns)
    assert all(insn.target > insn.at for insn in insns if insn.is_jump)
    assert insns[-1].opcode == 0x95 or insns[-1].is_jump
