"""An object file as the gate looks at it: sections, symbols, relocations (ELF64, little-endian)."""

from __future__ import annotations

import io
from functools import cached_property
from typing import Final

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

EM_BPF: Final = "EM_BPF"


class BrokenObjectError(Exception):
    """The bytes are no object file that this gate understands."""


class Symbol(msgspec.Struct, frozen=True):
    """A named place: `section` is "" if it is defined elsewhere."""

    name: str
    kind: str
    is_global: bool
    section: str
    offset: int
    size: int


class ObjectFile:
    """Read access to an object's parts. Raises BrokenObjectError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        try:
            self._elf = ELFFile(io.BytesIO(data))
            self._sections: list[Section] = list(self._elf.iter_sections())
        except (ELFError, ValueError, KeyError, UnicodeDecodeError) as error:
            raise BrokenObjectError(str(error)) from error
        if self._elf["e_machine"] != EM_BPF or not self._elf.little_endian:
            message = "no little-endian BPF object"
            raise BrokenObjectError(message)

    @cached_property
    def sections(self) -> dict[str, int]:
        """Sizes in bytes, by name."""
        return {section.name: section["sh_size"] for section in self._sections}

    def content(self, name: str) -> bytes:
        """A section's bytes; empty if there is none."""
        for section in self._sections:
            if section.name == name:
                return bytes(section.data())
        return b""

    def file_offset(self, name: str) -> int:
        """Where a section's bytes begin in the file."""
        for section in self._sections:
            if section.name == name:
                return int(section["sh_offset"])
        message = f"no section {name}"
        raise BrokenObjectError(message)

    @cached_property
    def symbols(self) -> list[Symbol]:
        """The symbol table, in its order; relocations refer to positions in it."""
        table = next((s for s in self._sections if isinstance(s, SymbolTableSection)), None)
        if table is None:
            return []
        return [
            Symbol(
                symbol.name,
                symbol["st_info"]["type"],
                symbol["st_info"]["bind"] != "STB_LOCAL",
                self._section_name(symbol["st_shndx"]),
                symbol["st_value"],
                symbol["st_size"],
            )
            for symbol in table.iter_symbols()
        ]

    def relocations(self, section: str) -> dict[int, Symbol]:
        """Byte offset in `section` → the symbol that is to be put there."""
        found = {}
        for candidate in self._sections:
            if isinstance(candidate, RelocationSection) and candidate.name == f".rel{section}":
                for relocation in candidate.iter_relocations():
                    found[relocation["r_offset"]] = self.symbols[relocation["r_info_sym"]]
        return found

    def _section_name(self, index: object) -> str:
        if isinstance(index, int) and index < len(self._sections):
            return str(self._sections[index].name)
        return ""
