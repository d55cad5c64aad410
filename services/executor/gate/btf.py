"""An object's debug types (BTF), read as strictly as the kernel does before libbpf may see them.

Layout: Documentation/bpf/btf.rst in the kernel's tree. Raises BrokenObjectError.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from services.executor.gate.elf import BrokenObjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TYPES: Final = 4096
MAX_PIECES: Final = 1000
"""Of one type, with its members and what they are made of; a hook's prototype has a hundred."""
MAX_CHAIN: Final = 32
"""Pointers, arrays, const, typedef… in a row: the kernel's MAX_RESOLVE_DEPTH."""

_HEADER: Final = struct.Struct("<HBBIIIII")
_EXT_HEADER: Final = struct.Struct("<HBBIIIIIII")
_WORD: Final = struct.Struct("<I")
_BLOCK: Final = struct.Struct("<II")
_LINE: Final = struct.Struct("<IIII")
_MAGIC, _VERSION = 0xEB9F, 1


class Kind(IntEnum):
    """Kinds of types; which of them hooks may have is for others to say."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_REFERS: Final = frozenset(
    {Kind.PTR, Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
)
_NEEDS_TYPE: Final = frozenset({Kind.FUNC, Kind.FUNC_PROTO, Kind.VAR, Kind.DECL_TAG})
# What follows a type: words once, words for each member, and which of a member's is a name and
# which a type.
_ONCE: Final = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH: Final = {
    Kind.STRUCT: (3, 0, 1),
    Kind.UNION: (3, 0, 1),
    Kind.ENUM: (2, 0, None),
    Kind.ENUM64: (3, 0, None),
    Kind.FUNC_PROTO: (2, 0, 1),
    Kind.DATASEC: (3, None, 0),
}


class Type(msgspec.Struct, frozen=True):
    """One type: `refers` is its size or the id of another type, as its kind has it."""

    kind: Kind
    name: str
    vlen: int
    refers: int
    once: tuple[int, ...]
    members: list[tuple[str, tuple[int, ...]]]


class Btf:
    """All types of an object, by id; id 0 is void."""

    def __init__(self, data: bytes) -> None:
        try:
            self.types, self._text = _types(data)
        except (struct.error, ValueError, IndexError) as error:
            raise BrokenObjectError(f"types: {error}") from error
        for number in range(1, len(self.types)):
            self._check(number)

    def text_at(self, offset: int) -> str:
        """A name by its place. Raises ValueError."""
        return _name(self._text, offset)

    def named(self, kind: Kind) -> dict[str, int]:
        """Ids of all types of that kind, by name."""
        return {each.name: at for at, each in enumerate(self.types) if at and each.kind == kind}

    def integer_bytes(self, number: int) -> int:
        """Size of the integer that the type is behind const, volatile and typedef; 0 if none."""
        while number and self.types[number].kind in _REFERS - {Kind.PTR}:
            number = self.types[number].refers
        found = self.types[number]
        return found.refers if number and found.kind in {Kind.INT, Kind.ENUM, Kind.ENUM64} else 0

    def shape(self, number: int) -> str:
        """The type in words, down to the places of its members; typedefs are looked through."""
        pieces = list(islice(self._pieces(number, 0), MAX_PIECES + 1))
        if len(pieces) > MAX_PIECES:
            raise BrokenObjectError(f"types: more than {MAX_PIECES} parts in one")
        return " ".join(pieces)

    def _pieces(self, number: int, depth: int) -> Iterator[str]:
        found = self.types[number]
        inner = depth + 1
        if depth > MAX_CHAIN:
            raise BrokenObjectError(f"types: more than {MAX_CHAIN} inside each other")
        if found.kind == Kind.TYPEDEF:
            yield from self._pieces(found.refers, inner)
            return
        yield found.kind.name
        if found.kind in _REFERS:
            yield from self._pieces(found.refers, inner)
        elif found.kind == Kind.ARRAY:
            yield str(found.once[2])
            yield from self._pieces(found.once[0], inner)
        elif found.kind == Kind.FUNC_PROTO:
            yield from self._pieces(found.refers, inner)
            for _, (_, given) in found.members:
                yield from self._pieces(given, inner)
        else:
            yield f"{found.name} {found.refers} {found.once}"
            if found.kind in {Kind.STRUCT, Kind.UNION}:
                for name, (_, member, place) in found.members:
                    yield f"{name} {place}"
                    yield from self._pieces(member, inner)

    def _check(self, number: int) -> None:
        """Types refer to types that exist, and chains of them end."""
        for _ in range(MAX_CHAIN):
            found = self.types[number]
            if not number or found.kind not in _REFERS | {Kind.ARRAY}:
                break
            number = found.once[0] if found.kind == Kind.ARRAY else found.refers
        else:
            raise BrokenObjectError(f"types: more than {MAX_CHAIN} in a chain")


def source_lines(data: bytes, types: Btf, file: str) -> dict[int, int]:
    """Line of `file` by slot of the code, for slots where one begins; from .BTF.ext."""
    try:
        return {
            place // 8: line >> 10  # the rest is the column
            for place, name, line in _line_records(data)
            if types.text_at(name).rpartition("/")[2] == file
        }
    except (struct.error, ValueError) as error:
        raise BrokenObjectError(f"lines: {error}") from error


def _line_records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Place in the code in bytes, place of the file's name, line and column in one."""
    *_, start, size, _, _ = _EXT_HEADER.unpack_from(data)
    at, end = _EXT_HEADER.size + start, _EXT_HEADER.size + start + size
    if not size:
        return
    (width,) = _WORD.unpack_from(data, at)
    if width < _LINE.size:
        raise ValueError("records of no size")
    at += _WORD.size
    while at < end:
        _, count = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        for _ in range(count):
            place, name, _, line = _LINE.unpack_from(data, at)
            yield place, name, line
            at += width


def relocates_kernel_types(data: bytes) -> bool:
    """Whether the section .BTF.ext asks for relocations against the running kernel (CO-RE)."""
    try:
        magic, version, flags, length, *parts = _EXT_HEADER.unpack_from(data)
    except struct.error as error:
        raise BrokenObjectError(f"lines: {error}") from error
    if (magic, version, flags, length) != (_MAGIC, _VERSION, 0, _EXT_HEADER.size):
        raise BrokenObjectError("lines: not the header that is known")
    for offset, size in zip(parts[::2], parts[1::2], strict=True):
        if length + offset + size > len(data):
            raise BrokenObjectError("lines: beyond the end")
    return bool(parts[5])


def _types(data: bytes) -> tuple[list[Type], bytes]:
    magic, version, flags, length, types_at, types_len, text_at, text_len = _HEADER.unpack_from(
        data
    )
    if (magic, version, flags, length) != (_MAGIC, _VERSION, 0, _HEADER.size):
        raise ValueError("not the header that is known")
    if types_at or text_at != types_len or length + text_at + text_len != len(data):
        raise ValueError("parts overlap or lie beyond the end")
    text = data[length + text_at :]
    if not text or text[0] or text[-1]:
        raise ValueError("names are not ended")
    words = struct.unpack(f"<{types_len // 4}I", data[length : length + types_len])
    found = [Type(Kind.INT, "void", 0, 0, (), [])]
    at = 0
    while at < len(words):
        if len(found) > MAX_TYPES:
            raise ValueError(f"more than {MAX_TYPES}")
        each, at = _one(words, at, text)
        found.append(each)
    for each in found[1:]:
        for other in _referred(each):
            found[other]  # raises IndexError
    return found, text


def _one(words: tuple[int, ...], at: int, text: bytes) -> tuple[Type, int]:
    name, info, refers = words[at : at + 3]
    kind, vlen = Kind(info >> 24 & 0x1F), info & 0xFFFF
    at += 3
    once = words[at : at + _ONCE.get(kind, 0)]
    at += _ONCE.get(kind, 0)
    width, name_at, _ = _EACH.get(kind, (0, None, None))
    members = []
    for _ in range(vlen if width else 0):
        member = words[at : at + width]
        at += width
        members.append(("" if name_at is None else _name(text, member[name_at]), member))
    if at > len(words):
        raise ValueError("the last one is cut short")
    return Type(kind, _name(text, name), vlen, refers, once, members), at


def _referred(each: Type) -> list[int]:
    _, _, type_at = _EACH.get(each.kind, (0, None, None))
    found = [] if type_at is None else [member[type_at] for _, member in each.members]
    if each.kind in _REFERS | _NEEDS_TYPE:
        found.append(each.refers)
    if each.kind == Kind.ARRAY:
        found += each.once[:2]
    return found


def _name(text: bytes, at: int) -> str:
    if at >= len(text):
        raise ValueError("a name lies beyond the end")
    name = text[at : text.index(b"\0", at)].decode("ascii")
    if not name.isprintable():
        raise ValueError("a name is not printable")
    return name
