"""Where the loads and stores of a function go, followed through its registers and its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from services.executor.gate import insn as bpf

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from services.executor.gate.insn import Insn
    from services.executor.gate.stage import Complaint

MAX_STACK_BYTES: Final = 512
"""The kernel's own limit (MAX_BPF_STACK), shared with the frame's program that calls the hook."""


FACTS_BYTES: Final = {"task": 128, "cpu": 72}
"""Sizes of struct cox_task and struct cox_cpu (bpf/include/cox/hooks.h)."""


class Pointer(NamedTuple):
    """An address: into what ("either": one of those that may be read), and how far.

    The offset is None if it depends on data.
    """

    into: str
    offset: int | None


Place = int
"""Registers are 0 to 10; the eight bytes at stack offset -8 are -8, and so on."""
State = dict[Place, Pointer]
"""What is known to be an address, on every path that leads here."""

_ENTRY: Final[State] = {
    1: Pointer("task", 0),
    2: Pointer("cpu", 0),
    bpf.FRAME_POINTER: Pointer("stack", 0),
}


class Memory(NamedTuple):
    """What a function's loads and stores come to."""

    complaints: list[Complaint]
    stack_bytes: int


def follow(body: Mapping[int, Insn], start: int, references: Collection[int]) -> Memory:
    """Follow addresses through the function; it has no backward jump.

    Then one forward pass is enough: by the time a slot is looked at, all of its predecessors have
    been. `references` are the slots whose 64-bit immediate is an address of read-only data. How
    far into those a load may reach, and where an offset depends on data, is left to the kernel's
    verifier.
    """
    found: list[Complaint] = []
    deepest = 0
    states: dict[int, State] = {start: _ENTRY}
    for at in sorted(body):
        insn = body[at]
        state = states.pop(at, None)
        if state is None:
            found.append(("jump", "no way leads to this instruction", at))
            continue
        text = _foreign(insn, state)
        if text:
            rule = "load" if insn.kind == bpf.LDX else "store"
            found.append((rule, text, at))
        else:
            deepest = max(deepest, -(_stack_offset(insn, state) or 0))
        after = _after(insn, state, references)
        for target in following(insn):
            states[target] = _both(after, states[target]) if target in states else after
    return Memory(found, deepest)


def following(insn: Insn) -> Sequence[int]:
    """Slots that may be next."""
    targets = [insn.target] if insn.is_jump else []
    if insn.falls_through:
        targets.append(insn.at + insn.slots)
    return targets


def _foreign(insn: Insn, state: State) -> str:
    """Why the address of this load or store is none that a hook may use; "" if it may."""
    if insn.kind == bpf.LDX:
        base = state.get(insn.src)
        if base is None:
            return "a hook reads only its two arguments, its constants and its own stack"
        if base.offset is None:
            return ""
        if base.into in FACTS_BYTES:
            return _beyond(base.into, base.offset + insn.off, insn.bytes)
        if base.into != "stack":
            return ""
    elif insn.kind in {bpf.ST, bpf.STX}:
        base = state.get(insn.dst)
        if base is None or base.into != "stack":
            return "a hook stores only on its own stack"
        if base.offset is None:
            return "a hook stores at fixed places of its stack: index arrays by constants"
    else:
        return ""
    first = base.offset + insn.off
    if not -MAX_STACK_BYTES <= first <= -insn.bytes:
        return f"stack offset {first} is outside of the hook's {MAX_STACK_BYTES} bytes"
    return ""


def _beyond(facts: str, first: int, count: int) -> str:
    size = FACTS_BYTES[facts]
    if 0 <= first <= size - count:
        return ""
    return f"bytes {first} to {first + count - 1} of struct cox_{facts}, which has {size}"


def _stack_offset(insn: Insn, state: State) -> int | None:
    """Offset of a load's or store's first byte, if that is a fixed place of the stack."""
    if insn.kind not in {bpf.LDX, bpf.ST, bpf.STX}:
        return None
    base = state.get(insn.src if insn.kind == bpf.LDX else insn.dst)
    if base is None or base.into != "stack" or base.offset is None:
        return None
    return base.offset + insn.off


def _after(insn: Insn, state: State, references: Collection[int]) -> State:
    after = dict(state)
    if insn.kind in {bpf.ST, bpf.STX}:
        first = _stack_offset(insn, state)
        if first is not None:
            for place in [p for p in after if p < 0 and first - 8 < p < first + insn.bytes]:
                del after[place]
            if insn.kind == bpf.STX and insn.bytes == 8 and insn.src in state:
                after[first] = state[insn.src]
        return after
    if insn.kind in {bpf.ALU, bpf.ALU64, bpf.LDX, bpf.LD}:
        after.pop(insn.dst, None)
        result = _result(insn, state, references)
        if result is not None:
            after[insn.dst] = result
    return after


def _result(insn: Insn, state: State, references: Collection[int]) -> Pointer | None:
    """The address that the instruction leaves in its register, if it is one."""
    held, other = state.get(insn.dst), state.get(insn.src)
    match insn.opcode:
        case bpf.LD_IMM64:
            return Pointer("data", 0) if insn.at in references else None
        case bpf.MOV64_REGISTER:
            return other if insn.off == 0 else None
        case bpf.ADD64_IMMEDIATE | bpf.SUB64_IMMEDIATE if held and held.offset is not None:
            step = insn.imm if insn.opcode == bpf.ADD64_IMMEDIATE else -insn.imm
            return Pointer(held.into, held.offset + step)
        case bpf.ADD64_IMMEDIATE | bpf.SUB64_IMMEDIATE:
            return held
        case bpf.ADD64_REGISTER if (held is None) != (other is None):
            return Pointer((held or other).into, None)  # type: ignore[union-attr]
        case bpf.SUB64_REGISTER if held is not None and other is None:
            return Pointer(held.into, None)
    if insn.kind == bpf.LDX and insn.bytes == 8 and insn.mode == bpf.MODE_MEM:
        first = _stack_offset(insn, state)
        return state.get(first) if first is not None and first < 0 else None
    return None


def _both(one: State, other: State) -> State:
    """What is known where two paths meet."""
    met: State = {}
    for place in one.keys() & other.keys():
        a, b = one[place], other[place]
        # Compilers let several ways end in one load, each with an address of its own.
        into = a.into if a.into == b.into else "either"
        met[place] = a if a == b else Pointer(into, None)
    return met
