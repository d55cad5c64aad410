"""A small reader of BTF, the type information inside a BPF object.

It knows what the loader asks: where a global variable lies in its section, where a member lies
in a struct, and what an enum's values are called. Format: Documentation/bpf/btf.rst in the kernel.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from shared.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_TRIPLE = struct.Struct("=III")
_ENUM = struct.Struct("=Ii")
_ENUM64 = struct.Struct("=III")

_INT, _STRUCT, _ENUM32_KIND, _VAR, _DATASEC, _ENUM64_KIND = 1, 4, 6, 14, 15, 19
_TRANSPARENT = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag
_INT_SIGNED, _INT_BOOL = 1, 4

# Bytes behind the 12 common ones: (fixed, for each of vlen).
_TAIL = {
    1: (4, 0),
    2: (0, 0),
    3: (12, 0),
    4: (0, 12),
    5: (0, 12),
    6: (0, 8),
    7: (0, 0),
    8: (0, 0),
    9: (0, 0),
    10: (0, 0),
    11: (0, 0),
    12: (0, 0),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    16: (0, 0),
    17: (4, 0),
    18: (0, 0),
    19: (0, 12),
}


class Scalar(NamedTuple):
    """How an integer, bool or enum is stored: `size` in bytes, and its range."""

    size: int
    low: int
    high: int


class Variable(NamedTuple):
    """A global variable in its section; `scalar` is None for structs and arrays."""

    offset: int
    size: int
    scalar: Scalar | None


class Member(NamedTuple):
    """A struct member: byte offset and type."""

    offset: int
    type_id: int


class _Type(NamedTuple):
    name: str
    kind: int
    vlen: int
    size_or_type: int
    tail: int  # offset of what follows the common part


class BtfError(InputError):
    """These bytes are no BTF this reader understands."""

    def __init__(self, got: str) -> None:
        super().__init__(
            "a BPF object's type information is unreadable",
            expected="BTF, as clang -target bpf -g writes it",
            got=got,
        )


def _guarded(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Offsets and ids come from the object: whatever they break is the object's fault."""

    @functools.wraps(method)
    def guarded(*arguments: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*arguments, **options)
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise BtfError(f"{type(error).__name__}: {error}") from error

    return guarded


class Btf:
    """Types of one object, by id (1 is the first)."""

    @_guarded
    def __init__(self, raw: bytes) -> None:
        magic, _, _, header, type_offset, type_bytes, string_offset, _ = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise BtfError(f"expected magic {_MAGIC:#x}, got {magic:#x}")
        self._raw = raw
        self._strings = header + string_offset
        self._types: list[_Type] = [_Type("void", 0, 0, 0, 0)]
        at, end = header + type_offset, header + type_offset + type_bytes
        while at < end:
            name, info, size_or_type = _TYPE.unpack_from(raw, at)
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            fixed, each = _TAIL[kind]
            tail = at + _TYPE.size
            self._types.append(_Type(self._string(name), kind, vlen, size_or_type, tail))
            at = tail + fixed + each * vlen

    def _string(self, offset: int) -> str:
        start = self._strings + offset
        return self._raw[start : self._raw.index(b"\0", start)].decode(errors="replace")

    def _resolve(self, type_id: int) -> _Type:
        """The type behind typedefs, const and volatile."""
        for _ in range(len(self._types)):
            found = self._types[type_id]
            if found.kind not in _TRANSPARENT:
                return found
            type_id = found.size_or_type
        raise BtfError(f"type {type_id} refers to itself")

    def _scalar(self, type_id: int) -> Scalar | None:
        found = self._resolve(type_id)
        size = found.size_or_type
        bits = 8 * size
        if found.kind == _INT:
            (encoding,) = struct.unpack_from("=I", self._raw, found.tail)
            if encoding >> 24 & _INT_BOOL:
                return Scalar(size, 0, 1)
            if encoding >> 24 & _INT_SIGNED:
                return Scalar(size, -(1 << bits - 1), (1 << bits - 1) - 1)
            return Scalar(size, 0, (1 << bits) - 1)
        if found.kind in {_ENUM32_KIND, _ENUM64_KIND}:
            return Scalar(size, 0, (1 << bits) - 1)
        return None

    @_guarded
    def variables(self, section: str) -> dict[str, Variable]:
        """Global variables of a section (`.rodata`), by name; empty if there is no such section."""
        found: dict[str, Variable] = {}
        for datasec in self._types:
            if datasec.kind != _DATASEC or datasec.name != section:
                continue
            for index in range(datasec.vlen):
                var_id, offset, size = _TRIPLE.unpack_from(
                    self._raw, datasec.tail + index * _TRIPLE.size
                )
                variable = self._types[var_id]
                if variable.kind == _VAR:
                    scalar = self._scalar(variable.size_or_type)
                    found[variable.name] = Variable(offset, size, scalar)
        return found

    @_guarded
    def members(self, type_id: int) -> dict[str, Member]:
        """Members of a struct by name; empty if the type is no struct."""
        found = self._resolve(type_id)
        if found.kind != _STRUCT:
            return {}
        members: dict[str, Member] = {}
        for index in range(found.vlen):
            name, member_type, bit_offset = _TRIPLE.unpack_from(
                self._raw, found.tail + index * _TRIPLE.size
            )
            members[self._string(name)] = Member((bit_offset & 0xFFFFFF) // 8, member_type)
        return members

    @_guarded
    def enumerators(self, name: str) -> dict[str, int]:
        """Values of an enum by their names; empty if there is no such enum."""
        for found in self._types:
            if found.name != name or found.kind not in {_ENUM32_KIND, _ENUM64_KIND}:
                continue
            if found.kind == _ENUM32_KIND:
                entries = (
                    _ENUM.unpack_from(self._raw, found.tail + i * _ENUM.size)
                    for i in range(found.vlen)
                )
                return {self._string(label): value for label, value in entries}
            wide = (
                _ENUM64.unpack_from(self._raw, found.tail + i * _ENUM64.size)
                for i in range(found.vlen)
            )
            return {self._string(label): low | high << 32 for label, low, high in wide}
        return {}
