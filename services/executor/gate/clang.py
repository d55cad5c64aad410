"""Running the compiler on one source file, in its jail, without a trace of where it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.executor.gate.jail import Jail

_FLAGS: Final = (
    "-target",
    "bpf",
    "-mcpu=v4",
    "-std=gnu17",
    "-O2",
    "-g",
    "-nostdinc",
    "-ferror-limit=20",
    "-fno-color-diagnostics",
    "-fno-caret-diagnostics",
    "-fdebug-compilation-dir=/",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    # The jail is one process: nothing is started for a stage, or to explain a crash.
    "-fintegrated-cc1",
    "-fno-crash-diagnostics",
)
FRAME_FLAGS: Final = (*_FLAGS, "-Werror")
HOOK_FLAGS: Final = (*_FLAGS, "-fno-gnu-inline-asm")


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the compiler left: an object if it went well, and what it said."""

    object: bytes | None
    diagnostics: str
    """Lines `name:line:column: kind: text`, without host paths."""


def run_clang(
    jail: Jail,
    source: str,
    name: str,
    *,
    flags: tuple[str, ...],
    includes: Sequence[Path],
) -> Compiled:
    """Compile `source`, called `name` in messages and debug data, with headers of `includes`.

    Those directories are copied into the jail under their own names, so that the compiler, what it
    says and what it makes know no path of this machine. Raises MachineError without a jail.
    """
    headers = {
        f"{include.name}/{header.relative_to(include).as_posix()}": header.read_bytes()
        for include in includes
        for header in sorted(include.rglob("*.h"))
    }
    # The object goes to standard output: the compiler may write no file.
    arguments = [*flags, *(f"-I{include.name}" for include in includes), "-c", name, "-o", "-"]
    ended = jail.run(arguments, {**headers, name: source.encode()})
    said = ended.said.replace(str(jail.program), jail.program.name)
    if ended.how:
        return Compiled(object=None, diagnostics=f"{said}\nclang {ended.how}")
    return Compiled(object=ended.output, diagnostics=said)
