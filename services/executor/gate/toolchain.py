"""The compiler: which one, and the files that it consists of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from shared.errors import MachineError

OLDEST_CLANG: Final = 16  # btf_decl_tag on parameters and -mcpu=v4 need it
CLANGS: Final = ("clang-19", "clang-18", "clang-17", "clang-16", "clang")
_LIBRARY: Final = re.compile(r"^\s*(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)


class Toolchain(msgspec.Struct, frozen=True):
    """A compiler: where it is, and the one line by which it names itself."""

    clang: Path
    version: str


def find_toolchain() -> Toolchain:
    """The newest clang this project knows. Raises MachineError if there is none."""
    seen = []
    for name in CLANGS:
        path = shutil.which(name)
        if path is None:
            continue
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        first = answer.stdout.partition("\n")[0]
        number = re.search(r"version (\d+)\.", first)
        if number and int(number[1]) >= OLDEST_CLANG:
            return Toolchain(Path(path), first.strip())
        seen.append(f"{path}: {first or answer.stderr.strip()}"[:120])
    raise MachineError(
        "there is no compiler for BPF here",
        expected=f"clang {OLDEST_CLANG} or newer, as one of {', '.join(CLANGS)}",
        got="; ".join(seen) or "none of them",
        advice="Install clang-19 (Debian 12 and later have it).",
    )


def parts(program: Path) -> tuple[Path, ...]:
    """The files a dynamically linked program needs to run: itself, its loader, its libraries.

    The loader is asked (ld.so(8), LD_TRACE_LOADED_OBJECTS). Raises MachineError if it says none.
    """
    answer = subprocess.run(
        [program],
        env={"LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    libraries = [os.path.normpath(path) for path in _LIBRARY.findall(answer.stdout)]
    if not libraries:
        raise MachineError(
            f"the files that {program.name} consists of cannot be found out",
            expected="an ELF program whose loader lists its libraries",
            got=(answer.stdout or answer.stderr).strip()[:200],
            advice="Name the compiler itself, not a script that calls it, first in PATH.",
        )
    return (program, *map(Path, libraries))
