"""Fourth stage: what the hooks' object is, read from the object itself."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from services.executor.gate.elf import BrokenObjectError, ObjectFile, Symbol
from services.executor.gate.insn import LD_IMM64, SIZE, Insn, decode
from services.executor.gate.purity import impurities
from services.executor.gate.stage import Finding, Work, reason

if TYPE_CHECKING:
    from shared.messages import Reason

HOOKS: Final = ("cox_rank", "cox_slice", "cox_place", "cox_preempt")
MAX_DATA_BYTES: Final = 4096

_SECTIONS: Final = re.compile(
    r"|\.text|\.rodata|\.symtab|\.strtab|\.BTF|\.BTF\.ext|\.llvm_addrsig|\.debug_\w+"
    r"|\.rel(\.text|\.BTF|\.BTF\.ext|\.debug_\w+)"
)
# struct btf_ext_header up to core_relo_len (kernel: tools/lib/bpf/libbpf_internal.h)
_BTF_EXT: Final = struct.Struct("<HBBIIIIIII")


class ProofStage:
    """Sections, symbols, parameters and every instruction of the compiled hooks."""

    name = "proof"

    def __call__(self, work: Work) -> Finding:
        """Prove the hooks pure, or say what is in the way."""
        try:
            hooks = ObjectFile(work.hooks)
            code = decode(hooks.content(".text"))
            relocations = hooks.relocations(".text")
        except (BrokenObjectError, ValueError, IndexError) as error:
            return Finding(reasons=[self._no("object", str(error))])
        reasons = self._about_sections(hooks)
        reasons += self._about_symbols(hooks)
        reasons += self._about_relocations(code, relocations)
        if reasons:
            return Finding(reasons=reasons)
        reasons += self._about_parameters(work, hooks)
        evidence: dict[str, float] = {}
        for symbol in sorted(hooks.symbols, key=lambda symbol: symbol.offset):
            if symbol.name not in HOOKS:
                continue
            start, end = symbol.offset // SIZE, (symbol.offset + symbol.size) // SIZE
            evidence[f"insns_{symbol.name.removeprefix('cox_')}"] = float(end - start)
            reasons += [
                self._no(rule, f"{symbol.name}: {text} (instruction {at - start})")
                for rule, text, at in impurities(code, start, end)
            ]
        return Finding(reasons=reasons, evidence=evidence)

    def _no(self, rule: str, text: str) -> Reason:
        return reason(self.name, rule, text)

    def _about_sections(self, hooks: ObjectFile) -> list[Reason]:
        found = [
            self._no("section", f"section {name}: hooks have code and read-only data, no more")
            for name in hooks.sections
            if not _SECTIONS.fullmatch(name)
        ]
        size = hooks.sections.get(".rodata", 0)
        if size > MAX_DATA_BYTES:
            found.append(self._no("data", f"{size} bytes of data; at most {MAX_DATA_BYTES}"))
        header = hooks.content(".BTF.ext")
        if len(header) >= _BTF_EXT.size and _BTF_EXT.unpack_from(header)[9]:
            found.append(self._no("relocation", "hooks are not relocated against the kernel"))
        return found

    def _about_symbols(self, hooks: ObjectFile) -> list[Reason]:
        found = []
        functions = {s.name: s for s in hooks.symbols if s.kind == "STT_FUNC"}
        for name in HOOKS:
            symbol = functions.get(name)
            if symbol is None or not symbol.is_global or symbol.section != ".text":
                found.append(self._no("hook", f"{name} is missing: define all four hooks"))
        for symbol in hooks.symbols:
            if symbol.kind == "STT_FUNC" and symbol.name not in HOOKS:
                text = f"function {symbol.name}: make it COX_INLINE, hooks call nothing"
                found.append(self._no("function", text))
            elif symbol.is_global and not symbol.section:
                text = f"{symbol.name} is defined elsewhere; hooks stand alone"
                found.append(self._no("undefined", text))
        covered = sum(s.size for s in functions.values())
        if not found and covered != hooks.sections.get(".text", 0):
            found.append(self._no("hook", "there is code outside of the hooks"))
        return found

    def _about_relocations(self, code: list[Insn], relocations: dict[int, Symbol]) -> list[Reason]:
        wide = {insn.at * SIZE for insn in code if insn.opcode == LD_IMM64}
        return [
            self._no("relocation", f"a reference to {symbol.name or symbol.section or '?'}")
            for offset, symbol in relocations.items()
            if symbol.section != ".rodata" or offset not in wide
        ]

    def _about_parameters(self, work: Work, hooks: ObjectFile) -> list[Reason]:
        found = []
        declared = {parameter.name: parameter for parameter in work.manifest.parameter}
        data = hooks.content(".rodata")
        variables = {
            symbol.name: symbol
            for symbol in hooks.symbols
            if symbol.kind == "STT_OBJECT" and symbol.is_global
        }
        for name in variables.keys() - declared.keys():
            text = f"{name} is not in the manifest; make it static const if it is no parameter"
            found.append(self._no("parameter", text))
        for name, parameter in declared.items():
            symbol = variables.get(name)
            if symbol is None or symbol.size not in {1, 2, 4, 8}:
                text = f"{name} is declared in the manifest; define it as a const volatile integer"
                found.append(self._no("parameter", text))
                continue
            stored = data[symbol.offset : symbol.offset + symbol.size]
            signed = parameter.low < 0
            try:
                extremes = [
                    value.to_bytes(symbol.size, "little", signed=signed)
                    for value in (parameter.default, parameter.low, parameter.high)
                ]
            except OverflowError:
                text = f"{name}: its bounds do not fit {symbol.size} bytes"
                found.append(self._no("parameter", text))
                continue
            if stored != extremes[0]:
                got = int.from_bytes(stored, "little", signed=signed)
                text = f"{name}: the source says {got}, the manifest's default {parameter.default}"
                found.append(self._no("parameter", text))
        return sorted(found, key=lambda each: each.text)
