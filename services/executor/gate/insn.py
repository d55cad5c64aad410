"""eBPF instructions as the proof needs them (kernel: include/uapi/linux/bpf.h, RFC 9669)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

SIZE: Final = 8
FRAME_POINTER: Final = 10

LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

LD_IMM64: Final = 0x18
CALL: Final = 0x85
CALL_REGISTER: Final = 0x8D
EXIT: Final = 0x95
JUMP_ALWAYS: Final = 0x05
JUMP_ALWAYS_32: Final = 0x06
MAY_GOTO: Final = 0xE5
MOV64_REGISTER: Final = 0xBF
ADD64_IMMEDIATE, ADD64_REGISTER = 0x07, 0x0F
SUB64_IMMEDIATE, SUB64_REGISTER = 0x17, 0x1F
MODE_MEM: Final = 0x60
MODE_MEMSX: Final = 0x80
LAST_OPERATION: Final = 0xD0
"""Of arithmetic and of jumps; what lies beyond is newer, and not plain."""
_BYTES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
SIGN_EXTENDING: Final = frozenset({8, 16, 32})


class Insn(NamedTuple):
    """One instruction; `at` counts 8-byte slots from the section's start."""

    at: int
    opcode: int
    dst: int
    src: int
    off: int
    imm: int

    @property
    def kind(self) -> int:
        """Instruction class, the low three bits of the opcode."""
        return self.opcode & 7

    @property
    def mode(self) -> int:
        """Addressing mode of a load or store, the high three bits."""
        return self.opcode & 0xE0

    @property
    def operation(self) -> int:
        """What arithmetic or a jump does, the high four bits."""
        return self.opcode & 0xF0

    @property
    def bytes(self) -> int:
        """How much a load or store moves."""
        return _BYTES[self.opcode & 0x18]

    @property
    def slots(self) -> int:
        """1, or 2 for a 64-bit immediate."""
        return 2 if self.opcode == LD_IMM64 else 1

    @property
    def is_jump(self) -> bool:
        """Whether it may go elsewhere than to the next instruction within the function."""
        return self.kind in {JMP, JMP32} and self.opcode not in {CALL, CALL_REGISTER, EXIT}

    @property
    def falls_through(self) -> bool:
        """Whether the next instruction may follow it."""
        return self.opcode not in {EXIT, JUMP_ALWAYS, JUMP_ALWAYS_32}

    @property
    def target(self) -> int:
        """Slot a jump goes to."""
        distance = self.imm if self.opcode == JUMP_ALWAYS_32 else self.off
        return self.at + 1 + distance


def decode(code: bytes) -> list[Insn]:
    """All instructions of a little-endian section. Raises ValueError if it is cut short."""
    if len(code) % SIZE:
        message = "code is no whole number of instructions"
        raise ValueError(message)
    insns = []
    at = 0
    while at * SIZE < len(code):
        opcode, registers, off, imm = struct.unpack_from("<BBhi", code, at * SIZE)
        insn = Insn(at, opcode, registers & 15, registers >> 4, off, imm)
        if (at + insn.slots) * SIZE > len(code):
            message = "the last instruction is cut short"
            raise ValueError(message)
        insns.append(insn)
        at += insn.slots
    return insns
