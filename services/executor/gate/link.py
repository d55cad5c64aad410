"""Last stage: frame and hooks become one object, and the frame is seen to have stayed itself."""

from __future__ import annotations

from typing import Final

from services.executor.gate.elf import BrokenObjectError, ObjectFile
from services.executor.gate.linker import LinkError, link
from services.executor.gate.proof import HOOKS
from services.executor.gate.stage import Finding, Work, reason

_OPS: Final = ".struct_ops.link"


class LinkStage:
    """Links, sets the frame's settings from the manifest, and compares with what went in."""

    name = "link"

    def __call__(self, work: Work) -> Finding:
        """Leave the finished object in `work.object`."""
        frame_path, hooks_path = work.directory / "frame.o", work.directory / "hooks.o"
        frame_path.write_bytes(work.workshop.frame())
        hooks_path.write_bytes(work.hooks)
        try:
            linked = link([frame_path, hooks_path], work.directory / "policy.o")
            frame = ObjectFile(frame_path.read_bytes())
            policy = ObjectFile(linked)
            complaints = _differences(frame, ObjectFile(work.hooks), policy)
            work.object = _with_settings(policy, work.manifest.frame)
        except (LinkError, BrokenObjectError) as error:
            return Finding(reasons=[reason(self.name, "failed", str(error))])
        programs = sum(name.startswith("struct_ops") for name in frame.sections)
        return Finding(
            reasons=[reason(self.name, "frame", text) for text in complaints],
            evidence={"object_bytes": float(len(linked)), "programs": float(programs)},
        )


def _differences(frame: ObjectFile, hooks: ObjectFile, policy: ObjectFile) -> list[str]:
    """What linking changed about the frame's programs and maps, or about the proven code."""
    found = []
    for name, size in policy.sections.items():
        ours = name.startswith(("struct_ops", ".data", ".bss", ".maps", _OPS, "license"))
        if ours and frame.sections.get(name) != size:
            found.append(f"section {name} is not the frame's any more")
    missing = [name for name in frame.sections if name.startswith("struct_ops")]
    found += [f"section {name} is gone" for name in missing if name not in policy.sections]
    before = {symbol.name: symbol for symbol in hooks.symbols if symbol.name in HOOKS}
    after = {symbol.name: symbol for symbol in policy.symbols if symbol.name in HOOKS}
    for name in HOOKS:
        if _code(hooks, before[name].offset, before[name].size) != _code(
            policy, after[name].offset, after[name].size
        ):
            found.append(f"{name} is not the code that was proven")
    return found


def _code(file: ObjectFile, offset: int, size: int) -> bytes:
    """A function's instructions, without the addresses that relocations leave in them."""
    code = bytearray(file.content(".text")[offset : offset + size])
    for at in file.relocations(".text"):
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
