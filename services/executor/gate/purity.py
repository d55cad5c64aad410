"""The proof that a function is pure: read from its bytecode, whatever its source looked like.

Pure means: it calls nothing, ends after at most as many instructions as it has (no backward
jump), touches no global but read-only data, and stores nowhere but on its own stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.executor.gate import insn as bpf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.executor.gate.insn import Insn

MAX_INSNS: Final = 512
"""Of one hook. At a few ns each this bounds what a hook costs on every wake-up."""

Complaint = tuple[str, str, int]
"""Rule, text, and the slot of the instruction it is about."""


def impurities(insns: Sequence[Insn], start: int, end: int) -> list[Complaint]:
    """What keeps the function in slots [start, end) from being pure; empty if it is.

    That relocations point at read-only data alone is for the caller to check.
    """
    body = [insn for insn in insns if start <= insn.at < end]
    found: list[Complaint] = []
    if len(body) > MAX_INSNS:
        found.append(("size", f"{len(body)} instructions; at most {MAX_INSNS}", start))
    known = {insn.at for insn in body}
    for insn in body:
        found += _way_out(insn, known) or _strange_access(insn)
    if not found:
        found += _foreign_stores({insn.at: insn for insn in body}, start)
    return found


def _way_out(insn: Insn, known: set[int]) -> list[Complaint]:
    """Leaving the function other than by its exit, or going back in it."""
    at = insn.at
    if insn.opcode == bpf.CALL:
        callee = {0: f"helper {insn.imm}", 1: "another function", 2: "a kernel function"}
        return [("call", f"a hook calls nothing; this calls {callee.get(insn.src, '?')}", at)]
    if insn.opcode == bpf.CALL_REGISTER:
        return [("call", "a hook calls nothing; this calls through a register", at)]
    if insn.is_jump and (insn.opcode == bpf.MAY_GOTO or insn.target <= at):
        return [("loop", "no backward jump: write loops that the compiler unrolls", at)]
    if insn.is_jump and insn.target not in known:
        return [("jump", "a jump leaves the function", at)]
    if insn.falls_through and at + insn.slots not in known:
        return [("jump", "the function runs into what follows it", at)]
    return []


def _strange_access(insn: Insn) -> list[Complaint]:
    """Loads, stores and references that plain computation has no use for."""
    at = insn.at
    if insn.kind == bpf.LD and insn.opcode != bpf.LD_IMM64:
        return [("load", "no packet access", at)]
    if insn.opcode == bpf.LD_IMM64 and insn.src:
        return [("reference", "a reference to a map, function or kernel variable", at)]
    if insn.kind == bpf.LDX and insn.mode not in {bpf.MODE_MEM, bpf.MODE_MEMSX}:
        return [("load", "an unknown kind of load", at)]
    if insn.kind in {bpf.ST, bpf.STX} and insn.mode != bpf.MODE_MEM:
        return [("store", "no atomic operation", at)]
    if insn.opcode == bpf.MOV64_REGISTER and insn.off not in bpf.SIGN_EXTENDING | {0}:
        return [("reference", "no change of address space", at)]
    if max(insn.dst, insn.src) > bpf.FRAME_POINTER:
        return [("register", "no such register", at)]
    return []


def _foreign_stores(body: Mapping[int, Insn], start: int) -> list[Complaint]:
    """Stores whose address is not provably the function's own stack.

    One forward pass is enough, for there are no backward jumps: by the time a slot is looked
    at, all of its predecessors have been. The state of a slot is the set of registers that hold
    a stack address on every path to it.
    """
    found: list[Complaint] = []
    on_stack: dict[int, frozenset[int]] = {start: frozenset({bpf.FRAME_POINTER})}
    for at in sorted(body):
        state = on_stack.get(at)
        if state is None:
            continue  # unreachable; the kernel's verifier refuses that by itself
        insn = body[at]
        if insn.kind in {bpf.ST, bpf.STX} and insn.dst not in state:
            found.append(("store", "a hook stores only on its own stack", at))
        after = _after(insn, state)
        following = [insn.target] if insn.is_jump else []
        if insn.falls_through:
            following.append(at + insn.slots)
        for target in following:
            on_stack[target] = after & on_stack.get(target, after)
    return found


def _after(insn: Insn, state: frozenset[int]) -> frozenset[int]:
    if insn.opcode == bpf.MOV64_REGISTER and insn.off == 0 and insn.src in state:
        return state | {insn.dst}
    if insn.opcode == bpf.ADD64_IMMEDIATE:
        return state
    if insn.kind in {bpf.ALU, bpf.ALU64, bpf.LDX, bpf.LD}:
        return state - {insn.dst}
    return state
