"""What the hooks' object may hold: sections, symbols, relocations and types, each by a list."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from services.executor.gate.btf import Btf, Kind, relocates_kernel_types
from services.executor.gate.insn import LD_IMM64, SIZE, Insn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.elf import ObjectFile, Section, Symbol

HOOKS: Final = ("cox_rank", "cox_slice", "cox_place", "cox_preempt")
MAX_DATA_BYTES: Final = 4096

_ALLOC, _EXEC = 2, 4
_KEPT: Final = {
    ".text": ("SHT_PROGBITS", _ALLOC | _EXEC),
    ".rodata": ("SHT_PROGBITS", _ALLOC),
    ".BTF": ("SHT_PROGBITS", 0),
    ".BTF.ext": ("SHT_PROGBITS", 0),
    ".symtab": ("SHT_SYMTAB", 0),
    ".strtab": ("SHT_STRTAB", 0),
}
"""What the linker takes over: kind, and flags among those that give memory to a section."""
_DROPPED: Final = re.compile(r"\.llvm_addrsig|\.debug_\w+|\.rel(\.text|\.BTF(\.ext)?|\.debug_\w+)")
"""What it reads for itself, or leaves out."""
_WHOLE: Final = (
    "this object is a scheduler of its own; only hooks are accepted: their source, with the four "
    "functions of bpf/include/cox/hooks.h, which the gate links with the frame"
)
_R_BPF_64_64: Final = 1
_KINDS: Final = frozenset(Kind) - {Kind.FLOAT, Kind.TYPE_TAG}
_TAG: Final = "arg:nonnull"

Found = tuple[str, str]
"""Rule and text."""


def about_contents(hooks: ObjectFile, code: list[Insn]) -> Iterator[Found]:
    """What the object holds and should not, or should hold and does not."""
    if any("struct_ops" in section.name for section in hooks.sections):
        yield "whole-scheduler", _WHOLE
        return
    yield from _about_sections(hooks)
    yield from _about_functions(hooks)
    yield from _about_symbols(hooks)
    yield from _about_relocations(hooks, code)


def about_types(hooks: ObjectFile, types: Btf) -> Iterator[Found]:
    """What the debug types hold and should not. Raises BrokenObjectError."""
    if relocates_kernel_types(hooks.content(".BTF.ext")):
        yield "relocation", "hooks are not relocated against the kernel: use the facts they get"
    for found in types.types[1:]:
        if found.kind not in _KINDS:
            yield "types", f"a type of kind {found.kind.name}: hooks compute with integers"
        elif found.kind == Kind.FUNC and (found.name not in HOOKS or found.vlen != 1):
            yield "types", f"function {found.name}: only the four hooks"
        elif found.kind == Kind.DATASEC and found.name != ".rodata":
            yield "types", f"a section {found.name}: only read-only data"
        elif found.kind == Kind.DECL_TAG and found.name != _TAG:
            yield "types", f"tag {found.name}: declare hooks by including cox/hooks.h, no more"
    named = Counter(each.name for each in types.types if each.kind in {Kind.FUNC, Kind.VAR})
    names = {symbol.name for symbol in hooks.symbols if symbol.binding != "STB_LOCAL"}
    for name in sorted(names):
        if named[name] != 1:
            yield "types", f"{named[name]} types of {name}: each name has one"


def _about_sections(hooks: ObjectFile) -> Iterator[Found]:
    counts = Counter(section.name for section in hooks.sections)
    # The first is the format's own: nothing, without a name. A name that lies beyond the names
    # reads as none, too, and ends a process that has libbpf read it.
    first, *others = hooks.sections
    if first.kind != "SHT_NULL":
        yield "section", "the first section is not the empty one"
    for section in others:
        if counts[section.name] > 1:
            yield "section", f"section {section.name} is there twice"
        elif not _expected(section):
            text = f"section {section.name[:60]}: hooks have code and read-only data, no more"
            hint = " (of a string or of a local array's first values: use static const integers)"
            yield "section", text + hint * section.name.startswith(".rodata.")
    size = len(hooks.content(".rodata"))
    if size > MAX_DATA_BYTES:
        yield "data", f"{size} bytes of data; at most {MAX_DATA_BYTES}: use smaller tables"


def _expected(section: Section) -> bool:
    memory = section.flags & (1 | _ALLOC | _EXEC)  # SHF_WRITE is 1
    kept = _KEPT.get(section.name)
    if kept is not None:
        return (section.kind, memory) == kept
    return bool(_DROPPED.fullmatch(section.name)) and not memory


def _about_functions(hooks: ObjectFile) -> Iterator[Found]:
    """The four hooks, and nothing between, before or behind them in the code."""
    functions = [symbol for symbol in hooks.symbols if symbol.kind == "STT_FUNC"]
    complete = True
    for name in HOOKS:
        mine = [symbol for symbol in functions if symbol.name == name]
        if len(mine) != 1 or not _visible(mine[0]) or mine[0].section != ".text":
            complete = False
            yield "hook", f"{name} is missing: define all four hooks, without static or attributes"
    for symbol in functions:
        if symbol.name not in HOOKS:
            complete = False
            text = f"function {symbol.name[:60]}: make it COX_INLINE, hooks call nothing"
            yield "function", text
    at = 0
    for symbol in sorted(functions, key=lambda symbol: symbol.offset):
        if symbol.offset != at or symbol.size % SIZE or not symbol.size:
            break
        at += symbol.size
    if complete and at != len(hooks.content(".text")):
        yield "hook", "there is code outside of the hooks"


def _about_symbols(hooks: ObjectFile) -> Iterator[Found]:
    names = Counter(symbol.name for symbol in hooks.symbols if symbol.binding != "STB_LOCAL")
    data = len(hooks.content(".rodata"))
    for at, symbol in enumerate(hooks.symbols):
        name = symbol.name[:60]
        if symbol.binding != "STB_LOCAL" and names[symbol.name] > 1:
            yield "symbol", f"{name} is there twice"
        elif symbol.kind == "STT_FUNC" or _is_no_data(symbol, first=at == 0):
            continue
        elif not symbol.section:
            yield "undefined", f"{name} is defined elsewhere: hooks stand alone"
        elif symbol.kind != "STT_OBJECT" or symbol.section != ".rodata":
            text = f"{name} in section {symbol.section[:60]}: a hook keeps nothing; make it const"
            yield "symbol", text
        elif symbol.binding != "STB_LOCAL" and not _visible(symbol):
            yield "symbol", f"{name} is weak or hidden: define it as a plain const volatile"
        elif symbol.offset + symbol.size > data:
            yield "symbol", f"{name} lies beyond the data"


def _is_no_data(symbol: Symbol, *, first: bool) -> bool:
    """The table's empty first entry, and those that name files and sections."""
    kinds = {"STT_NOTYPE"} if first else {"STT_SECTION", "STT_FILE"}
    return symbol.binding == "STB_LOCAL" and symbol.kind in kinds


def _visible(symbol: Symbol) -> bool:
    return symbol.binding == "STB_GLOBAL" and symbol.visibility == "STV_DEFAULT"


def _about_relocations(hooks: ObjectFile, code: list[Insn]) -> Iterator[Found]:
    wide = {insn.at * SIZE for insn in code if insn.opcode == LD_IMM64}
    seen = set()
    for each in hooks.relocations:
        if each.section != ".text":
            continue  # in debug data, by the compiler's own account of it
        ours = each.symbol.section == ".rodata" and each.kind == _R_BPF_64_64
        if not ours or each.offset not in wide or each.offset in seen:
            name = each.symbol.name or each.symbol.section or "?"
            yield "relocation", f"a reference to {name[:60]}: hooks stand alone"
        seen.add(each.offset)
