"""The proof that a function is pure: read from its bytecode, whatever its source looked like.

Pure means: it calls nothing, ends after at most as many instructions as it has (no backward
jump), reads nothing but its arguments, constants and own stack, and stores nowhere but there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from services.executor.gate import insn as bpf
from services.executor.gate.memory import Memory, follow, following

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from services.executor.gate.insn import Insn
    from services.executor.gate.stage import Complaint

MAX_INSNS: Final = 512
"""Of one hook. At a few ns each this bounds what a hook costs on every wake-up."""


class Examined(NamedTuple):
    """What keeps a function from being pure, and what it costs (0 if it is not pure)."""

    complaints: list[Complaint]
    """At slots counted from the function's first."""
    insns: int = 0
    steps: int = 0
    """Instructions on its longest way through: it never executes more."""
    stack_bytes: int = 0


def examine(
    insns: Sequence[Insn], start: int, end: int, references: Collection[int] = frozenset()
) -> Examined:
    """Look at the function in slots [start, end).

    `references` are the slots of 64-bit immediates that are addresses of read-only data; that
    they are, and that there are no others, is for the caller to check.
    """
    body = {insn.at: insn for insn in insns if start <= insn.at < end}
    found: list[Complaint] = []
    if len(body) > MAX_INSNS:
        text = f"{len(body)} instructions; at most {MAX_INSNS}: decide from fewer facts"
        found.append(("size", text, start))
    for insn in body.values():
        found += _way_out(insn, body) or _not_plain(insn)
    memory = Memory(found, 0) if found else follow(body, start, references)
    if memory.complaints:
        return Examined([(rule, text, at - start) for rule, text, at in memory.complaints])
    steps: dict[int, int] = {}
    for at in sorted(body, reverse=True):
        steps[at] = 1 + max((steps[target] for target in following(body[at])), default=0)
    return Examined(
        [],
        insns=len(body),
        steps=steps.get(start, 0),
        stack_bytes=memory.stack_bytes,
    )


def _way_out(insn: Insn, body: Mapping[int, Insn]) -> list[Complaint]:
    """Leaving the function other than by its exit, or going back in it."""
    at = insn.at
    if insn.opcode == bpf.CALL:
        callee = {0: f"helper {insn.imm}", 1: "another function", 2: "a kernel function"}
        return [("call", f"a hook calls nothing; this calls {callee.get(insn.src, '?')}", at)]
    if insn.opcode == bpf.CALL_REGISTER:
        return [("call", "a hook calls nothing; this calls through a register", at)]
    if insn.opcode == bpf.MAY_GOTO or (insn.is_jump and insn.target <= at):
        text = "no backward jump: give loops a constant count, and #pragma unroll"
        return [("loop", text, at)]
    if insn.is_jump and insn.target not in body:
        return [("jump", "a jump leaves the function", at)]
    if insn.falls_through and at + insn.slots not in body:
        return [("jump", "the function runs into what follows it: return on every path", at)]
    return []


def _not_plain(insn: Insn) -> list[Complaint]:
    """Loads, stores, references and operations that plain computation has no use for."""
    at = insn.at
    if insn.kind == bpf.LD and insn.opcode != bpf.LD_IMM64:
        return [("load", "no packet access", at)]
    if insn.opcode == bpf.LD_IMM64 and insn.src:
        return [("reference", "a reference to a map, function or kernel variable", at)]
    if insn.kind == bpf.LDX and insn.mode not in {bpf.MODE_MEM, bpf.MODE_MEMSX}:
        return [("load", "an unknown kind of load", at)]
    if insn.kind in {bpf.ST, bpf.STX} and insn.mode != bpf.MODE_MEM:
        return [("store", "no atomic operation: a hook shares nothing with others", at)]
    computes = insn.kind in {bpf.ALU, bpf.ALU64, bpf.JMP, bpf.JMP32}
    if computes and insn.operation > bpf.LAST_OPERATION:
        return [("instruction", f"no instruction {insn.opcode:#04x}", at)]
    if insn.opcode == bpf.MOV64_REGISTER and insn.off not in bpf.SIGN_EXTENDING | {0}:
        return [("reference", "no change of address space", at)]
    if insn.opcode == bpf.EXIT and any((insn.dst, insn.src, insn.off, insn.imm)):
        return [("instruction", "an exit with something in its unused fields", at)]
    if max(insn.dst, insn.src) > bpf.FRAME_POINTER:
        return [("register", "no such register", at)]
    writes = insn.kind in {bpf.LD, bpf.LDX, bpf.ALU, bpf.ALU64}
    if writes and insn.dst == bpf.FRAME_POINTER:
        return [("register", "the frame pointer is not to be written", at)]
    return []
