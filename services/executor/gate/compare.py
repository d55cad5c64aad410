"""What linking has made of frame and hooks: the frame is seen to have stayed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.executor.gate.btf import Btf, Kind
from services.executor.gate.contents import HOOKS
from services.executor.gate.elf import BrokenObjectError, ObjectFile
from services.executor.gate.stage import Finding, reason

if TYPE_CHECKING:
    from shared.policies import Manifest

STAGE: Final = "link"
_OPS: Final = ".struct_ops.link"


def compare(
    manifest: Manifest, *, frame: bytes, hooks: bytes, linked: bytes
) -> tuple[Finding, bytes]:
    """Reasons, if it is not what went in; and the object, with the manifest's settings in it."""
    try:
        before, policy = ObjectFile(frame), ObjectFile(linked)
        complaints = _differences(before, ObjectFile(hooks), policy)
        finished = _with_settings(policy, manifest.frame)
    except BrokenObjectError as error:
        return Finding(reasons=[reason(STAGE, "failed", str(error))]), b""
    programs = sum(each.name.startswith("struct_ops") for each in before.sections)
    return Finding(
        reasons=[reason(STAGE, "frame", text) for text in complaints],
        evidence={"object_bytes": float(len(linked)), "programs": float(programs)},
    ), finished


def _differences(frame: ObjectFile, hooks: ObjectFile, policy: ObjectFile) -> list[str]:
    """What linking changed about the frame's programs and maps, or about the proven code."""
    found = []
    before = {section.name: len(section.content) for section in frame.sections}
    after = {section.name: len(section.content) for section in policy.sections}
    for name, size in after.items():
        ours = name.startswith(("struct_ops", ".data", ".bss", ".maps", _OPS, "license"))
        if ours and before.get(name) != size:
            found.append(f"section {name} is not the frame's any more")
    missing = [name for name in before if name.startswith("struct_ops") and name not in after]
    found += [f"section {name} is gone" for name in missing]
    for name in HOOKS:
        if _code(hooks, name) != _code(policy, name):
            found.append(f"{name} is not the code that was proven")
    wanted, given = Btf(frame.content(".BTF")), Btf(hooks.content(".BTF"))
    for name in HOOKS:
        if _prototype(wanted, name) != _prototype(given, name):
            found.append(f"{name} takes or gives other types than cox/hooks.h says: include it")
    return found


def _prototype(types: Btf, function: str) -> str:
    return types.shape(types.types[types.named(Kind.FUNC)[function]].refers)


def _code(file: ObjectFile, function: str) -> bytes:
    """A function's instructions, without the addresses that relocations leave in them."""
    symbol = next((each for each in file.symbols if each.name == function), None)
    if symbol is None:
        raise BrokenObjectError(f"no function {function}")
    offset, size = symbol.offset, symbol.size
    code = bytearray(file.content(symbol.section)[offset : offset + size])
    for at in file.relocated(symbol.section):
        if offset <= at < offset + size:
            code[at - offset + 4 : at - offset + 8] = bytes(4)
            code[at - offset + 12 : at - offset + 16] = bytes(4)
    return bytes(code)


def _with_settings(policy: ObjectFile, settings: dict[str, int]) -> bytes:
    """The object with the frame's settings written over their defaults in .rodata."""
    data = bytearray(policy.data)
    places = {symbol.name: symbol for symbol in policy.symbols if symbol.section == ".rodata"}
    start = policy.file_offset(".rodata")
    for name, value in settings.items():
        place = places.get(name)
        if place is None:
            raise BrokenObjectError(f"the frame has no variable {name}")
        at = start + place.offset
        data[at : at + place.size] = value.to_bytes(place.size, "little")
    return bytes(data)
