"""Fourth stage: what the hooks' object is, read from the object itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.executor.gate.btf import Btf, source_lines
from services.executor.gate.contents import HOOKS, about_contents, about_types
from services.executor.gate.elf import BrokenObjectError, ObjectFile
from services.executor.gate.insn import SIZE, Insn, decode
from services.executor.gate.parameters import about_parameters
from services.executor.gate.purity import Examined, examine
from services.executor.gate.reader import ask
from services.executor.gate.stage import Finding, Work, reason
from shared.policies import HOOKS as SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.gate.stage import Complaint
    from shared.policies import Manifest


class ProofStage:
    """Sections, symbols, types, parameters and every instruction of the compiled hooks."""

    name = "proof"

    def __call__(self, work: Work) -> Finding:
        """Have the hooks proven pure in the jail, or say what is in the way."""
        finding, _ = ask(self.name, "prove", work.manifest, {"hooks": work.hooks})
        return finding


def prove(data: bytes, manifest: Manifest) -> Finding:
    """Prove the hooks of an object pure, or say what is in the way."""
    examined: dict[str, Examined] = {}
    try:
        hooks = ObjectFile(data)
        code = decode(hooks.content(".text"))
        found = [(rule, text, 0) for rule, text in about_contents(hooks, code)]
        if not found:
            types = Btf(hooks.content(".BTF"))
            rest = [*about_types(hooks, types), *about_parameters(manifest, hooks, types)]
            examined = dict(_examined(hooks, code))
            found = [(rule, text, 0) for rule, text in rest]
            found += _impurities(hooks, types, examined)
    except (BrokenObjectError, ValueError) as error:
        found = [("object", f"not what clang makes of hooks: {error}", 0)]
    return Finding(
        reasons=[reason(ProofStage.name, rule, text, line) for rule, text, line in found],
        evidence=_evidence(examined),
    )


def _impurities(
    hooks: ObjectFile, types: Btf, examined: dict[str, Examined]
) -> Iterator[Complaint]:
    """What is wrong with the code, at the line of source that it comes from."""
    lines = source_lines(hooks.content(".BTF.ext"), types, SOURCE)
    starts = {symbol.name: symbol.offset // SIZE for symbol in hooks.symbols}
    for name, each in examined.items():
        for rule, text, at in each.complaints:
            before = (slot for slot in lines if starts[name] <= slot <= starts[name] + at)
            line = lines.get(max(before, default=-1), 0)
            yield rule, f"{name}: {text} (instruction {at})", line


def _examined(hooks: ObjectFile, code: list[Insn]) -> Iterator[tuple[str, Examined]]:
    """Each hook, in the order of the code."""
    references = {offset // SIZE for offset in hooks.relocated(".text")}
    for symbol in sorted(hooks.symbols, key=lambda symbol: symbol.offset):
        if symbol.name in HOOKS:
            start, end = symbol.offset // SIZE, (symbol.offset + symbol.size) // SIZE
            yield symbol.name, examine(code, start, end, references)


def _evidence(examined: dict[str, Examined]) -> dict[str, float]:
    """Size and longest way of each hook in instructions; stack of the hungriest in bytes.

    There is no figure for loops: a hook has none.
    """
    evidence = {}
    pure = {name: each for name, each in examined.items() if not each.complaints}
    for name, each in pure.items():
        short = name.removeprefix("cox_")
        evidence[f"insns_{short}"] = float(each.insns)
        evidence[f"steps_{short}"] = float(each.steps)
    if pure:
        evidence["stack_bytes"] = float(max(each.stack_bytes for each in pure.values()))
    return evidence
