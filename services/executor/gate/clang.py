"""Running the compiler on one source file, with limits, and without a trace of where it ran."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S: Final = 20
MAX_DIAGNOSTICS: Final = 16 * 1024
_MEMORY_KIB: Final = 4 * 1024 * 1024
_FILE_BLOCKS: Final = 16 * 1024  # of 512 bytes: 8 MiB for the object and for the diagnostics

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
)
FRAME_FLAGS: Final = (*_FLAGS, "-Werror")
HOOK_FLAGS: Final = (*_FLAGS, "-fno-gnu-inline-asm")


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the compiler left: an object if it went well, and what it said."""

    object: bytes | None
    diagnostics: str
    """Lines `name:line:column: kind: text`, without host paths."""


def run_clang(
    clang: Path,
    source: str,
    name: str,
    *,
    flags: tuple[str, ...],
    includes: tuple[Path, ...],
    directory: Path,
) -> Compiled:
    """Compile `source`, called `name` in messages and debug data, in the private `directory`.

    Limits: 20 s of CPU and of time, 4 GiB of memory, 8 MiB a file, 16 KiB of diagnostics.
    """
    (directory / name).write_text(source, encoding="utf-8")
    output, said = directory / "out.o", directory / "diagnostics"
    # The limits are set by the shell that becomes clang: preexec_fn is not safe among threads.
    limits = (f"-t {TIMEOUT_S}", f"-v {_MEMORY_KIB}", f"-f {_FILE_BLOCKS}", "-c 0")
    script = "".join(f"ulimit {limit} && " for limit in limits) + 'exec "$@"'
    command = [
        str(clang),
        *flags,
        *(f"-ffile-prefix-map={include}={include.name}" for include in includes),
        f"-ffile-prefix-map={directory}=.",
        *(f"-I{include}" for include in includes),
        "-c",
        name,
        "-o",
        output.name,
    ]
    ending = ""
    try:
        with said.open("wb") as file:
            ended = subprocess.run(
                ["/bin/sh", "-c", script, "sh", *command],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(directory)},
                timeout=TIMEOUT_S,
                check=False,
            )
        if ended.returncode != 0:
            ending = f"\nclang ended with status {ended.returncode}"
    except subprocess.TimeoutExpired:
        ending = f"\nclang did not end within {TIMEOUT_S} s"
    with said.open("rb") as file:
        text = file.read(MAX_DIAGNOSTICS).decode(errors="replace")
    for path in (*includes, directory, clang):
        text = text.replace(str(path), path.name)
    if ending:
        return Compiled(object=None, diagnostics=text + ending)
    return Compiled(object=output.read_bytes(), diagnostics=text)
