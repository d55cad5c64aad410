"""An object file as the gate looks at it: sections, symbols, relocations (ELF64, little-endian).

Everything is read at once, so that a file is either understood as a whole or broken: no later
question about it can fail.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import msgspec
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    from elftools.elf.sections import Section as ElfSection

MAX_OBJECT_BYTES: Final = 1 << 20
MAX_SECTIONS: Final = 128
MAX_SYMBOLS: Final = 8192
MAGIC: Final = b"\x7fELF"

# Elf64_Ehdr, without e_ident's padding (System V ABI, chapter 4).
_HEADER: Final = struct.Struct("<4sBBB9xHHIQQQIHHHHHH")
_ELF64, _LITTLE, _VERSION = 2, 1, 1
_ET_REL, _EM_BPF = 1, 247
_SHF_COMPRESSED: Final = 1 << 11
_ENTRY_BYTES: Final = {"SHT_SYMTAB": 24, "SHT_REL": 16}


class BrokenObjectError(Exception):
    """The bytes are no object file that this gate understands."""


class Section(msgspec.Struct, frozen=True):
    """A section: `kind` and `flags` as in its header."""

    name: str
    kind: str
    flags: int
    offset: int
    """Where its bytes begin in the file."""
    content: bytes
    target: int
    """Position of the section it is about (sh_info); a relocation section's."""


class Symbol(msgspec.Struct, frozen=True):
    """A named place: `section` is "" if it is defined elsewhere or nowhere."""

    name: str
    kind: str
    binding: str
    visibility: str
    section: str
    offset: int
    size: int


class Relocation(msgspec.Struct, frozen=True):
    """A symbol's value is put at `offset` of the section named `section`."""

    section: str
    offset: int
    kind: int
    symbol: Symbol


class ObjectFile:
    """An object's parts. Raises BrokenObjectError, whatever the bytes are."""

    data: bytes
    sections: list[Section]
    symbols: list[Symbol]
    """In the table's order; relocations refer to positions in it."""
    relocations: list[Relocation]

    def __init__(self, data: bytes) -> None:
        self.data = data
        _check_header(data)
        try:
            elf = ELFFile(io.BytesIO(data))
            found = list(elf.iter_sections())
            self.sections = [_section(section, len(data)) for section in found]
            self.symbols = _symbols(found, self.sections)
            self.relocations = _relocations(found, self.sections, self.symbols)
        except BrokenObjectError:
            raise
        except Exception as error:
            # A parser of hostile bytes trips in more ways than its documentation lists; all mean
            # the same.
            raise BrokenObjectError(f"{type(error).__name__}: {error}") from error

    def content(self, name: str) -> bytes:
        """The bytes of the first section of that name; empty if there is none."""
        return next((each.content for each in self.sections if each.name == name), b"")

    def file_offset(self, name: str) -> int:
        """Where a section's bytes begin in the file."""
        for section in self.sections:
            if section.name == name:
                return section.offset
        raise BrokenObjectError(f"no section {name}")

    def relocated(self, section: str) -> dict[int, Symbol]:
        """Byte offset in `section` → the symbol that is to be put there."""
        return {each.offset: each.symbol for each in self.relocations if each.section == section}


def _check_header(data: bytes) -> None:
    """What must be so before a parser is let near: kind of file, and tables of sane size."""
    if len(data) > MAX_OBJECT_BYTES:
        raise BrokenObjectError(f"{len(data)} bytes; at most {MAX_OBJECT_BYTES}")
    if len(data) < _HEADER.size:
        raise BrokenObjectError(f"{len(data)} bytes are no ELF file")
    magic, width, order, version, kind, machine, *rest = _HEADER.unpack_from(data)
    (_, _, _, sections_at, _, _, _, _, entry, count, names) = rest
    if (magic, width, order, version) != (MAGIC, _ELF64, _LITTLE, _VERSION):
        raise BrokenObjectError("no little-endian 64-bit ELF file")
    if (kind, machine) != (_ET_REL, _EM_BPF):
        raise BrokenObjectError("no BPF object, as clang -target bpf -c writes it")
    if entry != 64 or not 0 < count <= MAX_SECTIONS or names >= count:
        raise BrokenObjectError(f"{count} sections of {entry} bytes, names in {names}")
    if sections_at + entry * count > len(data):
        raise BrokenObjectError("the table of sections lies beyond the end")


def _section(section: ElfSection, end: int) -> Section:
    name, kind, flags = section.name, section["sh_type"], section["sh_flags"]
    offset, size = section["sh_offset"], section["sh_size"]
    if flags & _SHF_COMPRESSED:
        raise BrokenObjectError(f"section {name} is compressed")
    has_bytes = kind not in {"SHT_NOBITS", "SHT_NULL"}
    if has_bytes and offset + size > end:
        raise BrokenObjectError(f"section {name} lies beyond the end")
    entry = _ENTRY_BYTES.get(str(kind))
    if entry is not None and (section["sh_entsize"] != entry or size % entry):
        raise BrokenObjectError(f"section {name} has entries of {section['sh_entsize']} bytes")
    if entry is not None and size // entry > MAX_SYMBOLS:
        raise BrokenObjectError(f"section {name} has {size // entry} entries")
    content = bytes(section.data()) if has_bytes else b""
    return Section(name, str(kind), flags, offset, content, section["sh_info"])


def _symbols(found: list[ElfSection], sections: list[Section]) -> list[Symbol]:
    tables = [section for section in found if isinstance(section, SymbolTableSection)]
    if len(tables) != 1:
        raise BrokenObjectError(f"{len(tables)} symbol tables")
    return [
        Symbol(
            symbol.name,
            str(symbol["st_info"]["type"]),
            str(symbol["st_info"]["bind"]),
            str(symbol["st_other"]["visibility"]),
            _named(symbol["st_shndx"], sections),
            symbol["st_value"],
            symbol["st_size"],
        )
        for symbol in tables[0].iter_symbols()
    ]


def _named(index: object, sections: list[Section]) -> str:
    if not isinstance(index, int):  # SHN_UNDEF, SHN_ABS, SHN_COMMON
        return ""
    return sections[index].name


def _relocations(
    found: list[ElfSection], sections: list[Section], symbols: list[Symbol]
) -> list[Relocation]:
    relocations = []
    for section in found:
        if not isinstance(section, RelocationSection):
            continue
        if not isinstance(found[section["sh_link"]], SymbolTableSection):
            raise BrokenObjectError(f"section {section.name} has no symbol table")
        target = sections[section["sh_info"]].name
        for relocation in section.iter_relocations():
            symbol = symbols[relocation["r_info_sym"]]
            offset, kind = relocation["r_offset"], relocation["r_info_type"]
            relocations.append(Relocation(target, offset, kind, symbol))
    return relocations
