"""Changes to a compiled object that no compiler would make, as the corpus' `.toml` files say them.

    truncate = 2000                                      keep so many bytes (negative: all but)
    [[change]]
    header = "e_shnum"             value = 0xffff        a field of the ELF header
    section = ".text"              field, value          a field of the section's header
    section = ".BTF"   at = 4      hex = "ffff"          bytes of the section
    symbol = "cox_rank"            field, value          a field of the symbol
    code = "cox_rank"  insn = 0    hex = "85…"           an instruction; -1 is the function's last
    at = 5                         hex = "02"            bytes of the file

`value_of = ".text"` is that section's own value of the field, or its position in the table.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.executor.gate.elf import ObjectFile

HEADER = {
    "e_type": (16, "H"),
    "e_machine": (18, "H"),
    "e_shoff": (40, "Q"),
    "e_shnum": (60, "H"),
    "e_shstrndx": (62, "H"),
}
SECTION = {
    "sh_name": (0, "I"),
    "sh_flags": (8, "Q"),
    "sh_size": (32, "Q"),
    "sh_info": (44, "I"),
    "sh_entsize": (56, "Q"),
}
SYMBOL = {
    "st_info": (4, "B"),
    "st_shndx": (6, "H"),
    "st_value": (8, "Q"),
    "st_size": (16, "Q"),
}


class Patch(NamedTuple):
    """Bytes at a place of the file."""

    at: int
    data: bytes


def changed(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """The object after all changes."""
    done = bytearray(data)
    for each in changes.get("change", []):
        patch = _patch(data, each)
        done[patch.at : patch.at + len(patch.data)] = patch.data
    return bytes(done[: changes["truncate"]] if "truncate" in changes else done)


def _patch(data: bytes, change: Mapping[str, Any]) -> Patch:
    file = ObjectFile(data)
    table = struct.unpack_from("<Q", data, 40)[0]
    places = [section.name for section in file.sections]
    match change:
        case {"header": name, "value": value}:
            return _field(0, HEADER[name], value)
        case {"section": name, "field": field, **rest}:
            at, kind = SECTION[field]
            value = rest.get("value")
            if value is None:
                other = places.index(rest["value_of"])
                copied = struct.unpack_from("<" + kind, data, table + 64 * other + at)[0]
                value = other if field == "sh_info" else copied
            return _field(table + 64 * places.index(name), (at, kind), value)
        case {"section": name, "at": at, "hex": text}:
            return Patch(file.file_offset(name) + at, bytes.fromhex(text))
        case {"symbol": name, "field": field, **rest}:
            number = [symbol.name for symbol in file.symbols].index(name)
            value = rest.get("value")
            if value is None:
                value = places.index(rest["value_of"])
            return _field(file.file_offset(".symtab") + 24 * number, SYMBOL[field], value)
        case {"code": name, "insn": insn, "hex": text}:
            symbol = next(symbol for symbol in file.symbols if symbol.name == name)
            at = symbol.offset + (insn * 8 if insn >= 0 else symbol.size + insn * 8)
            return Patch(file.file_offset(".text") + at, bytes.fromhex(text))
        case {"at": at, "hex": text}:
            return Patch(at, bytes.fromhex(text))
    raise ValueError(f"no such change: {change}")


def _field(start: int, place: tuple[int, str], value: int) -> Patch:
    at, kind = place
    return Patch(start + at, struct.pack("<" + kind, value))
